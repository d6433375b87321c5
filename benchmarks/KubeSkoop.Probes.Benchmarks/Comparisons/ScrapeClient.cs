using System.Buffers.Text;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>
/// Gets <c>/metrics</c> over one kept connection and throws the body away, so that the client's own work does not hide
/// the server's. Speaks as much HTTP/1.1 as that needs: a content length, or chunks.
/// </summary>
internal sealed class ScrapeClient : IDisposable
{
    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly byte[] _buffer = GC.AllocateUninitializedArray<byte>(1 << 20, pinned: true);
    private readonly byte[] _request;
    private int _from;
    private int _to;

    internal ScrapeClient(int port, string path = "/metrics")
    {
        _request = [.. "GET "u8, .. System.Text.Encoding.ASCII.GetBytes(path), .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/plain\r\n\r\n"u8];
        _socket.ReceiveTimeout = 30_000;
        _socket.Connect(IPAddress.Loopback, port);
    }

    /// <summary>One scrape.</summary>
    /// <param name="keep">Receives the body, for a look at it; nothing while measuring.</param>
    /// <returns>Until the last byte was here.</returns>
    internal TimeSpan Scrape(Stream? keep = null)
    {
        long began = Stopwatch.GetTimestamp();
        _socket.Send(_request);
        long length = -1;
        bool chunked = false;
        ReadOnlySpan<byte> status = Line();
        if (!status.StartsWith("HTTP/1.1 200"u8)) throw new InvalidDataException($"The server said {System.Text.Encoding.ASCII.GetString(status)}.");
        while (Line() is { IsEmpty: false } header)
        {
            if (Value(header, "content-length:"u8) is { IsEmpty: false } number && Utf8Parser.TryParse(number, out long l, out _)) length = l;
            if (Value(header, "transfer-encoding:"u8).SequenceEqual("chunked"u8)) chunked = true;
        }
        if (!chunked)
        {
            if (length < 0) throw new InvalidDataException("The server gave neither a length nor chunks.");
            Take(length, keep);
            return Stopwatch.GetElapsedTime(began);
        }
        while (true)
        {
            ReadOnlySpan<byte> line = Line();
            if (!Utf8Parser.TryParse(line, out long size, out _, 'x')) throw new InvalidDataException("A chunk without a size.");
            Take(size, keep);
            _ = Line();
            if (size == 0) return Stopwatch.GetElapsedTime(began);
        }
    }

    public void Dispose() => _socket.Dispose();

    private static ReadOnlySpan<byte> Value(ReadOnlySpan<byte> header, ReadOnlySpan<byte> name)
    {
        if (header.Length < name.Length || !System.Text.Ascii.EqualsIgnoreCase(header[..name.Length], name)) return default;
        return header[name.Length..].Trim((byte)' ');
    }

    private ReadOnlySpan<byte> Line()
    {
        while (true)
        {
            ReadOnlySpan<byte> held = _buffer.AsSpan(_from, _to - _from);
            int end = held.IndexOf("\r\n"u8);
            if (end >= 0)
            {
                _from += end + 2;
                return held[..end];
            }
            held.CopyTo(_buffer);
            _to -= _from;
            _from = 0;
            _to += Receive(_buffer.AsSpan(_to));
        }
    }

    private void Take(long count, Stream? keep)
    {
        while (count > 0)
        {
            if (_from == _to)
            {
                _from = 0;
                _to = Receive(_buffer);
            }
            int part = (int)Math.Min(count, _to - _from);
            keep?.Write(_buffer, _from, part);
            _from += part;
            count -= part;
        }
    }

    private int Receive(Span<byte> free)
    {
        int got = _socket.Receive(free);
        return got > 0 ? got : throw new EndOfStreamException("The server closed the connection.");
    }
}
