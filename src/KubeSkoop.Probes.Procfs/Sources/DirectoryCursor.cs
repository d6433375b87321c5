using System.Buffers.Binary;
using KubeSkoop.Probes.Procfs.Interop;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Procfs;

/// <summary>Walks a directory that is kept open, without a string per entry. Names are bytes: nobody promised UTF-8.</summary>
internal ref struct DirectoryCursor
{
    private const int NameOffset = 19; // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name

    private readonly SafeFileHandle _directory;
    private readonly Span<byte> _buffer;
    private ReadOnlySpan<byte> _rest;
    private bool _ended;

    internal DirectoryCursor(SafeFileHandle directory, Span<byte> buffer, long position = 0)
    {
        _directory = directory;
        _buffer = buffer;
        Position = position;
        _ended = !Libc.Seek(directory, position);
    }

    /// <summary>Where the walk goes on after this entry; for a walk that is broken off and taken up again.</summary>
    internal long Position { get; private set; }

    /// <summary>The entry's name.</summary>
    internal ReadOnlySpan<byte> Name { get; private set; }

    /// <summary>Why the walk ended early, if it did.</summary>
    internal Errno Error { get; private set; }

    internal bool MoveNext()
    {
        if (_rest.IsEmpty)
        {
            if (_ended) return false;
            int read = Libc.ReadDirectory(_directory, _buffer, out Errno error);
            if (read <= 0)
            {
                Error = error;
                _ended = true;
                return false;
            }
            _rest = _buffer[..read];
        }
        int length = _rest.Length > NameOffset ? BinaryPrimitives.ReadUInt16LittleEndian(_rest[16..]) : 0;
        if (length <= NameOffset || length > _rest.Length)
        {
            _ended = true;
            _rest = default;
            return false;
        }
        ReadOnlySpan<byte> name = _rest[NameOffset..length];
        int end = name.IndexOf((byte)0);
        Name = end < 0 ? name : name[..end];
        Position = BinaryPrimitives.ReadInt64LittleEndian(_rest[8..]);
        _rest = _rest[length..];
        return true;
    }
}
