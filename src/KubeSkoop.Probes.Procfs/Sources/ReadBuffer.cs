namespace KubeSkoop.Probes.Procfs;

/// <summary>A pinned buffer that grows to what a kernel file needs and is then reused for ever.</summary>
internal sealed class ReadBuffer(int limit = ReadBuffer.DefaultLimit)
{
    /// <summary>A /proc/net/dev of 100,000 devices has about 13 MB.</summary>
    internal const int DefaultLimit = 32 * 1024 * 1024;

    private byte[] _bytes = GC.AllocateUninitializedArray<byte>(16 * 1024, pinned: true);

    internal int Limit => limit;

    internal Span<byte> From(int offset) => _bytes.AsSpan(offset);

    internal ReadOnlySpan<byte> UpTo(int length) => _bytes.AsSpan(0, length);

    /// <summary>Doubles the buffer, keeping what it holds; false at the limit.</summary>
    internal bool TryGrow()
    {
        if (_bytes.Length >= limit) return false;
        byte[] larger = GC.AllocateUninitializedArray<byte>(Math.Min(_bytes.Length * 2, limit), pinned: true);
        _bytes.CopyTo(larger, 0);
        _bytes = larger;
        return true;
    }
}
