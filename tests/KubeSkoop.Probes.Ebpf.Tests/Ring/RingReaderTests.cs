using System.Buffers.Binary;
using CsCheck;
using KubeSkoop.Probes.Ebpf.Ring;
using Microsoft.Win32.SafeHandles;

namespace KubeSkoop.Probes.Ebpf.Tests.Ring;

/// <summary>The ring reader on pages that a file stands in for, so that a test can write what no kernel would.</summary>
public sealed class RingReaderTests
{
    private const uint Busy = 1u << 31;
    private const uint Discarded = 1u << 30;

    [Fact]
    public void Records_are_handed_over_in_order_and_room_is_given_back()
    {
        using var ring = new FileRing(4096);
        ring.Append([1, 2, 3]).Append([]).Append([4, 5, 6, 7, 8, 9, 10, 11, 12]);
        Assert.Equal(3, ring.Reader.Drain());
        Assert.Equal(["010203", "", "0405060708090A0B0C"], ring.Taken);
        Assert.Equal(ring.Producer, ring.Consumer);
        Assert.Equal(0, ring.Reader.Drain());
    }

    [Fact]
    public void A_record_that_is_still_written_ends_the_reading_and_is_read_once_it_is_whole()
    {
        using var ring = new FileRing(4096);
        ring.Append([1]);
        ulong busy = ring.Producer;
        ring.Append([2], Busy).Append([3]);
        Assert.Equal(1, ring.Reader.Drain());
        Assert.Equal((busy, "01"), (ring.Consumer, string.Join(' ', ring.Taken)));
        ring.SetHeader(busy, 1);
        Assert.Equal(2, ring.Reader.Drain());
        Assert.Equal("01 02 03", string.Join(' ', ring.Taken));
    }

    [Fact]
    public void What_was_discarded_is_stepped_over()
    {
        using var ring = new FileRing(4096);
        ring.Append([1]).Append(new byte[100], Discarded).Append([2]);
        Assert.Equal(2, ring.Reader.Drain());
        Assert.Equal("01 02", string.Join(' ', ring.Taken));
        Assert.Equal(ring.Producer, ring.Consumer);
    }

    [Fact]
    public void A_record_over_the_end_of_the_ring_is_in_one_piece()
    {
        using var ring = new FileRing(4096, begin: 4096 - 16);
        byte[] record = [.. Enumerable.Range(0, 60).Select(static i => (byte)i)];
        ring.Append(record);
        Assert.Equal(1, ring.Reader.Drain());
        Assert.Equal(Convert.ToHexString(record), Assert.Single(ring.Taken));
    }

    [Theory]
    [InlineData(0x3fffffffu)]
    [InlineData(4097u)]
    [InlineData(200u)] // more than the producer says there is
    public void A_length_that_lies_ends_the_ring_there_and_is_counted(uint length)
    {
        using var ring = new FileRing(4096);
        ring.Append([1]);
        ulong lie = ring.Producer;
        ring.Append([2]).SetHeader(lie, length);
        Assert.Equal(1, ring.Reader.Drain());
        Assert.Equal((1L, ring.Producer, "01"), (ring.Reader.Malformed, ring.Consumer, string.Join(' ', ring.Taken)));
        ring.Append([3]); // and it goes on with what comes next
        Assert.Equal(1, ring.Reader.Drain());
        Assert.Equal("01 03", string.Join(' ', ring.Taken));
    }

    [Fact]
    public void Any_bytes_come_to_an_end_and_nothing_is_read_beyond_the_pages() => Gen.Select(Gen.Byte.Array[4096], Gen.ULong, Gen.ULong[0, 20000]).Sample((bytes, begin, more) =>
    {
        using var ring = new FileRing(4096, begin & ~7ul);
        ring.Fill(bytes, (begin & ~7ul) + more);
        long records = ring.Reader.Drain();
        Assert.InRange(records, 0, 4096 / 8);
        Assert.Equal(records, ring.Taken.Count);
        ring.Reader.Drain();
    }, iter: 300);

    [Fact]
    public void After_its_end_a_ring_is_silent()
    {
        using var ring = new FileRing(4096);
        ring.Append([1]);
        ring.Reader.Dispose();
        Assert.Equal(0, ring.Reader.Drain());
        ring.Reader.Dispose();
    }

    /// <summary>Laid out like a BPF ring: the consumer's page, the producer's page, and the data twice in a row.</summary>
    private sealed class FileRing : IRingConsumer, IDisposable
    {
        private readonly string _path = Path.GetTempFileName();
        private readonly SafeFileHandle _file;
        private readonly uint _size;
        private readonly int _page = Environment.SystemPageSize;

        internal FileRing(uint size, ulong begin = 0)
        {
            _size = size;
            _file = File.OpenHandle(_path, FileMode.Open, FileAccess.ReadWrite);
            RandomAccess.SetLength(_file, 2 * _page + 2 * size);
            Put(0, begin);
            Producer = begin;
            Put(_page, begin);
            Reader = new RingReader((int)_file.DangerousGetHandle(), size, this);
        }

        internal RingReader Reader { get; }

        internal List<string> Taken { get; } = [];

        internal ulong Producer { get; private set; }

        internal ulong Consumer
        {
            get
            {
                byte[] bytes = new byte[8];
                RandomAccess.Read(_file, bytes, 0);
                return BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            }
        }

        internal FileRing Append(byte[] record, uint flags = 0)
        {
            byte[] bytes = new byte[(8 + record.Length + 7) / 8 * 8];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, (uint)record.Length | flags);
            record.CopyTo(bytes, 8);
            for (int i = 0; i < bytes.Length; i++) PutByte(Producer + (ulong)i, bytes[i]);
            Producer += (ulong)bytes.Length;
            Put(_page, Producer);
            return this;
        }

        internal void SetHeader(ulong at, uint header)
        {
            byte[] bytes = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(bytes, header);
            for (int i = 0; i < 4; i++) PutByte(at + (ulong)i, bytes[i]);
        }

        internal void Fill(byte[] bytes, ulong producer)
        {
            RandomAccess.Write(_file, bytes, 2 * _page);
            RandomAccess.Write(_file, bytes, 2 * _page + _size);
            Producer = producer;
            Put(_page, producer);
        }

        public void Take(ReadOnlySpan<byte> record) => Taken.Add(Convert.ToHexString(record));

        public void Dispose()
        {
            Reader.Dispose();
            _file.Dispose();
            File.Delete(_path);
        }

        private void PutByte(ulong at, byte value)
        {
            long offset = (long)(at & (_size - 1));
            RandomAccess.Write(_file, [value], 2 * _page + offset);
            RandomAccess.Write(_file, [value], 2 * _page + _size + offset);
        }

        private void Put(long offset, ulong value)
        {
            byte[] bytes = new byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
            RandomAccess.Write(_file, bytes, offset);
        }
    }
}
