using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>How a reading went.</summary>
internal enum ReadOutcome : byte
{
    Ok,
    Vanished,
    Denied,
    TooLarge,
}

/// <summary>
/// One kernel file, opened once and read again at offset 0. A file below <c>/proc/PID/net</c> stays bound to the network
/// namespace it was opened in, so neither path lookup nor setns is needed again; it also pins that namespace.
/// </summary>
internal sealed class ProcFile(SafeFileHandle handle) : IDisposable
{
    // A seq_file hands out at least one page at a time and stops at the record that no longer fits. When this much of a
    // page is left over, nothing followed: the read that would only say "end of file" is saved.
    private const int CertainlyComplete = 4096 - 1024;

    /// <summary>Opens a file by its full path.</summary>
    internal static ProcFile? TryOpen(ReadOnlySpan<byte> nulTerminatedPath, out Errno error)
    {
        SafeFileHandle handle = Libc.Open(Libc.AtCurrentDirectory, nulTerminatedPath, Libc.OpenReadOnly, out error);
        if (error == Errno.None) return new ProcFile(handle);
        handle.Dispose();
        return null;
    }

    /// <summary>Reads the whole file as it is now. The text lives in <paramref name="buffer"/>.</summary>
    /// <param name="buffer">Receives the text.</param>
    /// <param name="singleRecord">The kernel writes the file as one record (single_open), so one read returns all of it.</param>
    /// <param name="text">The text.</param>
    /// <param name="error">Why not.</param>
    internal ReadOutcome Read(ReadBuffer buffer, bool singleRecord, out ReadOnlySpan<byte> text, out Errno error)
    {
        text = default;
        error = Errno.None;
        if (handle.IsClosed) return ReadOutcome.Vanished;
        int length = 0;
        try
        {
            while (true)
            {
                Span<byte> free = buffer.From(length);
                if (free.Length < 4096)
                {
                    if (!buffer.TryGrow()) return ReadOutcome.TooLarge;
                    free = buffer.From(length);
                }
                int read = Libc.ReadAt(handle, free, length, out error);
                if (read < 0) return error.MeansVanished() ? ReadOutcome.Vanished : ReadOutcome.Denied;
                length += read;
                if (read == 0 || (read < free.Length && (singleRecord || length <= CertainlyComplete))) break;
            }
        }
        catch (ObjectDisposedException)
        {
            return ReadOutcome.Vanished; // the namespace ended on the watching thread
        }
        text = buffer.UpTo(length);
        return ReadOutcome.Ok;
    }

    public void Dispose() => handle.Dispose();
}
