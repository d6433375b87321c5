using System.Runtime.InteropServices;
using CsCheck;
using KubeSkoop.Probes.Procfs.Interop;

namespace KubeSkoop.Probes.Netlink.Tests;

/// <summary>The transport against a peer that does not keep to the rules.</summary>
public class NetlinkSocketTests
{
    private readonly List<uint> _seen = [];

    [Fact]
    public void Parts_of_a_dump_arrive_in_order_and_its_end_ends_it()
    {
        using var fake = new FakeNetlink(static q => [[.. q.Part(1), .. q.Part(2)], q.Part(3), q.Done()]);

        NetlinkResult result = Dump(fake, out Numbers visitor);

        Assert.Equal(default, result);
        Assert.True(result.IsComplete);
        Assert.Equal([1u, 2u, 3u], _seen);
        Assert.Equal(1, visitor.Begun);
        Assert.False(fake.Client.IsBroken);
    }

    [Fact]
    public void A_request_ends_with_its_acknowledgement()
    {
        using var fake = new FakeNetlink(static q =>
        {
            Assert.Equal(NetlinkFlags.Request | NetlinkFlags.Acknowledge, q.Header.Flags);
            return [q.Part(7), q.Acknowledge()];
        });
        var visitor = new Numbers(_seen);

        Assert.Equal(NetlinkOutcome.Ok, fake.Client.Request(new NetlinkBuffer(), Request(), ref visitor).Outcome);
        Assert.Equal([7u], _seen);
    }

    [Fact]
    public void An_interrupted_dump_is_begun_anew_and_what_was_seen_is_forgotten()
    {
        using var fake = new FakeNetlink(static q => q.Number == 1
            ? [q.Part(1), q.Part(2, NetlinkFlags.DumpInterrupted), q.Done()]
            : [q.Part(1), q.Part(2), q.Part(3), q.Done()]);

        Assert.Equal(NetlinkOutcome.Ok, Dump(fake, out Numbers visitor).Outcome);
        Assert.Equal([1u, 2u, 3u], _seen);
        Assert.Equal(2, visitor.Begun);
        Assert.Equal(1, fake.Settings.Counts.Interrupted);
    }

    [Fact]
    public void A_dump_that_is_always_interrupted_ends_and_says_so()
    {
        using var fake = new FakeNetlink(static q => [q.Part(1, NetlinkFlags.DumpInterrupted), q.Done()]);

        NetlinkResult result = Dump(fake, out _);

        Assert.Equal(NetlinkOutcome.Inconsistent, result.Outcome);
        Assert.True(result.IsComplete);
        Assert.Equal([1u], _seen);
        Assert.Equal(fake.Settings.Attempts, fake.Requests);
        Assert.Equal(fake.Settings.Attempts, fake.Settings.Counts.Interrupted);
        Assert.False(fake.Client.IsBroken);
    }

    [Fact]
    public void Messages_of_other_senders_ports_and_sequences_are_left_out_and_counted()
    {
        using var fake = new FakeNetlink(static q =>
        {
            q.SendAsStranger(q.Part(66));
            return
            [
                FakeNetlink.Message(100, NetlinkFlags.Multipart, q.Header.Sequence - 1, q.Header.Port, [66, 0, 0, 0]),
                [.. FakeNetlink.Message(100, NetlinkFlags.Multipart, q.Header.Sequence, q.Header.Port + 1, [66, 0, 0, 0]), .. q.Part(1)],
                FakeNetlink.Message(NetlinkMessageType.Done, NetlinkFlags.Multipart, q.Header.Sequence + 1, q.Header.Port, [0, 0, 0, 0]),
                q.Part(2),
                q.Done(),
            ];
        });

        Assert.Equal(NetlinkOutcome.Ok, Dump(fake, out _).Outcome);
        Assert.Equal([1u, 2u], _seen);
        Assert.Equal(4, fake.Settings.Counts.Strangers);
    }

    [Fact]
    public void A_datagram_larger_than_the_buffer_is_asked_for_again_with_a_larger_one()
    {
        using var fake = new FakeNetlink(static q =>
        [
            q.Part(1),
            FakeNetlink.Message(100, NetlinkFlags.Multipart, q.Header.Sequence, q.Header.Port, [2, 0, 0, 0, .. new byte[5000]]),
            q.Done(),
        ]);
        var buffer = new NetlinkBuffer(1024);
        var visitor = new Numbers(_seen);

        Assert.Equal(NetlinkOutcome.Ok, fake.Client.Dump(buffer, Request(), ref visitor).Outcome);
        Assert.Equal([1u, 2u], _seen);
        Assert.Equal(1, fake.Settings.Counts.Oversized);
        Assert.Equal(2, fake.Requests);

        // It has grown for good.
        Assert.Equal(NetlinkOutcome.Ok, fake.Client.Dump(buffer, Request(), ref visitor).Outcome);
        Assert.Equal(1, fake.Settings.Counts.Oversized);
    }

    [Fact]
    public void A_single_answer_larger_than_the_buffer_is_asked_for_again()
    {
        using var fake = new FakeNetlink(static q => [FakeNetlink.Message(100, NetlinkFlags.None, q.Header.Sequence, q.Header.Port, [2, 0, 0, 0, .. new byte[5000]]), q.Acknowledge()]);
        var visitor = new Numbers(_seen);

        Assert.Equal(NetlinkOutcome.Ok, fake.Client.Request(new NetlinkBuffer(1024), Request(), ref visitor).Outcome);
        Assert.Equal([2u], _seen);
        Assert.Equal(1, fake.Settings.Counts.Oversized);
    }

    [Fact]
    public void Silence_ends_with_the_time_limit_and_the_socket_is_not_used_again()
    {
        using var fake = new FakeNetlink(static q => [q.Part(1)], new NetlinkSettings { TimeLimit = TimeSpan.FromMilliseconds(20) });

        NetlinkResult result = Dump(fake, out _);

        Assert.Equal(NetlinkOutcome.TimedOut, result.Outcome);
        Assert.False(result.IsComplete);
        Assert.True(fake.Client.IsBroken);
        Assert.Equal(1, fake.Requests);
    }

    [Fact]
    public void A_dump_that_never_ends_is_ended()
    {
        using var fake = new FakeNetlink(static q => Endless(q), new NetlinkSettings { TimeLimit = TimeSpan.FromMilliseconds(50) });

        Assert.Equal(NetlinkOutcome.TimedOut, Dump(fake, out _).Outcome);
        Assert.True(_seen.Count > 0);
        fake.Client.Dispose(); // the peer must not wait for room

        static IEnumerable<byte[]> Endless(FakeNetlink.Question q)
        {
            for (uint i = 0; i < 1_000_000 && !q.Stopped; i++) yield return q.Part(i);
        }
    }

    [Fact]
    public void Lengths_that_lie_make_the_answer_malformed()
    {
        foreach (uint length in (uint[])[0, 1, 15, 21, 4096, uint.MaxValue])
        {
            using var fake = new FakeNetlink(q =>
            {
                byte[] part = q.Part(1);
                MemoryMarshal.Write(part, length);
                return [part, q.Done()];
            });

            NetlinkResult result = Dump(fake, out _);

            Assert.Equal(NetlinkOutcome.Malformed, result.Outcome);
            Assert.True(fake.Client.IsBroken);
            Assert.Empty(_seen);
        }
    }

    [Fact]
    public void A_message_the_visitor_does_not_know_makes_the_answer_malformed_but_is_taken_to_its_end()
    {
        using var fake = new FakeNetlink(static q => [q.Part(1), FakeNetlink.Message(101, NetlinkFlags.Multipart, q.Header.Sequence, q.Header.Port, [1]), q.Part(3), q.Done()]);

        Assert.Equal(NetlinkOutcome.Malformed, Dump(fake, out _).Outcome);
        Assert.Equal([1u], _seen);
        Assert.Equal(0, Interop.Libc.Receive(fake.Client.Handle, new byte[64], wait: false, out _, out Errno error) + 1);
        Assert.Equal(Errno.TryAgain, error);
    }

    [Fact]
    public void The_end_of_a_dump_may_be_a_refusal()
    {
        using var fake = new FakeNetlink(static q => [q.Part(1), q.Done(-95)]);

        NetlinkResult result = Dump(fake, out _);

        Assert.Equal(NetlinkOutcome.Refused, result.Outcome);
        Assert.Equal(Errno.NotSupported, result.Errno);
        Assert.StartsWith("EOPNOTSUPP", result.Describe(), StringComparison.Ordinal);
        Assert.False(fake.Client.IsBroken);
    }

    [Fact]
    public void A_refusal_that_stays_is_one_object()
    {
        using var fake = new FakeNetlink(static q => [q.Acknowledge(-1)]);

        NetlinkError? first = Dump(fake, out _).Error;

        Assert.NotNull(first);
        Assert.Same(first, Dump(fake, out _).Error);
    }

    [Fact]
    public async Task Closing_the_socket_under_a_dump_ends_it_without_an_exception()
    {
        using var begun = new ManualResetEventSlim();
        using var fake = new FakeNetlink(q => Endless(q), new NetlinkSettings { TimeLimit = TimeSpan.FromSeconds(30) });
        Task<NetlinkResult> dump = Task.Run(() => Dump(fake, out _));

        begun.Wait(TimeSpan.FromSeconds(10));
        fake.Client.Dispose();
        NetlinkResult result = await dump.WaitAsync(TimeSpan.FromSeconds(10));

        Assert.Equal(NetlinkOutcome.Closed, result.Outcome);
        Assert.True(fake.Client.IsBroken);

        IEnumerable<byte[]> Endless(FakeNetlink.Question q)
        {
            for (uint i = 0; !q.Stopped; i++)
            {
                yield return q.Part(i);
                begun.Set();
            }
        }
    }

    [Fact]
    public void Any_answer_ends_with_a_result()
    {
        Gen<byte[]> noise = Gen.Byte.Array[0, 80];
        byte[][] answers = [];
        using var fake = new FakeNetlink(q =>
        {
            // The answer's header is mostly right, so that its inside is looked at, too.
            foreach (byte[] answer in answers)
            {
                if (answer.Length < NetlinkHeader.Size || answer[0] % 4 == 0) continue;
                MemoryMarshal.Write(answer.AsSpan(8), q.Header.Sequence);
                MemoryMarshal.Write(answer.AsSpan(12), q.Header.Port);
                if (answer[0] % 4 != 1) MemoryMarshal.Write(answer, answer.Length);
                if (answer[0] % 4 != 2) MemoryMarshal.Write(answer.AsSpan(4), (ushort)(answer[5] % 5));
            }
            return [.. answers.Where(static a => a.Length > 0), q.Done()];
        });
        var buffer = new NetlinkBuffer(64);

        noise.Array[0, 6].Sample(datagrams =>
        {
            answers = datagrams;
            var visitor = new Numbers(_seen);
            NetlinkResult result = fake.Client.Dump(buffer, Request(), ref visitor);
            fake.Settle();
            // Every answer has its end, so none waits for the time limit.
            return result.Outcome is NetlinkOutcome.Ok or NetlinkOutcome.Inconsistent or NetlinkOutcome.Refused or NetlinkOutcome.Malformed or NetlinkOutcome.Overrun
                && result.Describe().Length > 0;
        }, iter: 2000, threads: 1);
    }

    private static Span<byte> Request() => new NetlinkWriter(new byte[NetlinkHeader.Size], 100).Finish();

    private NetlinkResult Dump(FakeNetlink fake, out Numbers visitor)
    {
        visitor = new Numbers(_seen);
        return fake.Client.Dump(new NetlinkBuffer(4096), Request(), ref visitor);
    }
}
