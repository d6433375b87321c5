using System.Globalization;
using System.Runtime.InteropServices;
using CsCheck;
using Snapshooter.Xunit;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.Conntrack;

/// <summary>Messages as the kernel wrote them, and what becomes of them when they are broken.</summary>
public sealed class ConntrackMessagesTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    [Fact]
    public void Captured_notices_become_events()
    {
        var lines = new List<string>();
        var messages = new NetlinkMessages(Fixture.Bytes("6.18-conntrack/netlink/conntrack-events.bin"));
        while (messages.MoveNext())
        {
            ConntrackEvent? e = ConntrackParser.Read(messages.Current, null, Now, "node", out NetlinkFault fault);
            Assert.Equal(NetlinkFault.None, fault);
            lines.Add(Describe(e!));
        }
        Assert.Equal(NetlinkFault.None, messages.Fault);
        Snapshot.Match(string.Join('\n', lines), "conntrack.6.18-events");
    }

    [Fact]
    public void A_captured_dump_is_counted()
    {
        var counts = new ConntrackFlowCount[ConntrackFlows.Rows];
        Walk("conntrack-dump.bin", new ConntrackFlowVisitor(counts));

        var flows = new ConntrackFlows(new NetworkNamespace(1, true, new NamespaceFacts(null, null, null, null)));
        flows.Take(counts);
        var batch = new SampleBatch<ConntrackRecord>();
        flows.Write(batch);
        Snapshot.Match(string.Join('\n', batch.Rows.ToArray().Select(static r => string.Create(CultureInfo.InvariantCulture,
            $"{string.Join(' ', r.Subject.Attributes.ToArray().Select(static a => a.Value))}: {r.Value.Flows} flows, {r.Value.FlowsUnreplied} unreplied, {r.Value.FlowsAssured} assured, {r.Value.FlowsSourceNat} source and {r.Value.FlowsDestinationNat} destination translated, {r.Value.FlowsOffloaded} offloaded"))), "conntrack.6.18-dump");
    }

    [Fact]
    public void Captured_statistics_are_summed()
    {
        var statistics = new ConntrackStatisticsVisitor();
        var messages = new NetlinkMessages(Fixture.Bytes("6.18-conntrack/netlink/conntrack-stats-cpu.bin"));
        int cpus = 0;
        while (messages.MoveNext() && messages.Current.Type != NetlinkMessageType.Done)
        {
            Assert.True(statistics.Visit(messages.Current));
            cpus++;
        }
        Assert.Equal(2, cpus);
        var state = new ConntrackNamespace(new NetworkNamespace(1, true, new NamespaceFacts(null, null, null, null)));
        state.Fold(statistics.Sums);
        var record = default(ConntrackRecord);
        state.Write(ref record);
        Assert.Equal(5ul, record.Inserted.Value); // conntrack -I
        Assert.False(record.Ignored.HasValue);
        Assert.True(record.ClashesResolved.HasValue && record.ChainsTooLong.HasValue);

        var global = new ConntrackGlobalVisitor();
        messages = new NetlinkMessages(Fixture.Bytes("6.18-conntrack/netlink/conntrack-stats.bin"));
        Assert.True(messages.MoveNext());
        Assert.True(global.Visit(messages.Current));
        Assert.Equal((9ul, 262144ul), (global.Entries.Value, global.Maximum.Value));
    }

    [Fact]
    public void An_old_kernels_statistics_leave_out_what_it_does_not_count()
    {
        // As 5.4 wrote it: with ignore (5), without clash_resolve (14) and chaintoolong (15).
        NetlinkWriter writer = ConntrackMessages.Write(new byte[256], ConntrackMessages.GetStatsCpu, ConntrackMessages.FamilyAny);
        foreach (ushort type in (ushort[])[2, 4, 5, 8, 9, 10, 11, 12, 13]) writer.Attribute(type, System.Buffers.Binary.BinaryPrimitives.ReverseEndianness((uint)type * 10));
        var messages = new NetlinkMessages(writer.Finish());
        Assert.True(messages.MoveNext());
        var statistics = new ConntrackStatisticsVisitor();
        Assert.True(statistics.Visit(messages.Current));
        var state = new ConntrackNamespace(new NetworkNamespace(1, true, new NamespaceFacts(null, null, null, null)));
        state.Fold(statistics.Sums);
        var record = default(ConntrackRecord);
        state.Write(ref record);

        Assert.Equal(
            (20ul, 40ul, 50ul, 80ul, 90ul, 100ul, 110ul, 120ul, 130ul),
            (record.Found.Value, record.Invalid.Value, record.Ignored.Value, record.Inserted.Value, record.InsertFailed.Value, record.Dropped.Value, record.DroppedEarly.Value, record.Errors.Value, record.SearchRestarts.Value));
        Assert.False(record.ClashesResolved.HasValue || record.ChainsTooLong.HasValue);
    }

    [Fact]
    public void Cut_anywhere_a_notice_gives_the_same_flow_or_none()
    {
        var messages = new NetlinkMessages(Fixture.Bytes("6.18-conntrack/netlink/conntrack-events.bin"));
        while (messages.MoveNext())
        {
            byte[] whole = FakeNetlink.Message(messages.Current.Type, messages.Current.Flags, 0, 0, messages.Current.Payload);
            var expected = ConntrackParser.Read(messages.Current, null, Now, null, out _) as ConntrackFlowEvent;
            for (int length = NetlinkHeader.Size; length < whole.Length; length++)
            {
                byte[] cut = whole[..length];
                MemoryMarshal.Write(cut, (uint)length);
                var walk = new NetlinkMessages(cut);
                Assert.True(walk.MoveNext());
                if (ConntrackParser.Read(walk.Current, null, Now, null, out NetlinkFault fault) is not ConntrackFlowEvent e)
                {
                    Assert.True(fault != NetlinkFault.None || expected is null);
                    continue;
                }
                // Attributes behind the cut are missing, none is wrong.
                Assert.NotNull(expected);
                Assert.Equal(expected.Original, e.Original);
                Assert.True(e.Reply is null || e.Reply == expected.Reply);
                Assert.True(e.TcpState is null || e.TcpState == expected.TcpState);
                Assert.True(e.ReplyTraffic is null || e.ReplyTraffic == expected.ReplyTraffic);
                Assert.True(e.Status == ConntrackStatus.None || e.Status == expected.Status);
            }
        }
    }

    [Fact]
    public void Broken_messages_give_a_fault_or_an_event()
    {
        byte[] good = [.. Fixture.Bytes("6.18-conntrack/netlink/conntrack-events.bin"), .. Fixture.Bytes("6.18-conntrack/netlink/conntrack-dump.bin")];
        var starts = new List<(int Start, int Length)>();
        for (int at = 0; at < good.Length;)
        {
            int length = MemoryMarshal.Read<int>(good.AsSpan(at));
            starts.Add((at, length));
            at += (length + 3) & ~3;
        }
        var counts = new ConntrackFlowCount[ConntrackFlows.Rows];
        Gen.Select(Gen.Int[0, starts.Count - 1], Gen.Select(Gen.Int[0, 1000], Gen.Byte).Array[1, 6]).Sample((which, changes) =>
        {
            byte[] message = good[starts[which].Start..(starts[which].Start + starts[which].Length)];
            foreach ((int at, byte value) in changes) message[NetlinkHeader.Size + (at % Math.Max(1, message.Length - NetlinkHeader.Size))] = value;
            var walk = new NetlinkMessages(message);
            if (!walk.MoveNext()) return false;
            ConntrackEvent? e = ConntrackParser.Read(walk.Current, null, Now, null, out NetlinkFault fault);
            if (e is not null && (fault != NetlinkFault.None || e.ToString().Length == 0)) return false;
            if (e is ConntrackExpectationEvent { Helper: { } helper } && helper.Any(char.IsControl)) return false;
            new ConntrackFlowVisitor(counts).Visit(walk.Current);
            new ConntrackStatisticsVisitor().Visit(walk.Current);
            return true;
        }, iter: 20_000);
    }

    [Fact]
    public void Counting_allocates_nothing()
    {
        var counts = new ConntrackFlowCount[ConntrackFlows.Rows];
        byte[] dump = Fixture.Bytes("6.18-conntrack/netlink/conntrack-dump.bin");
        Check.Quiet(() =>
        {
            var visitor = new ConntrackFlowVisitor(counts);
            visitor.Begin();
            var messages = new NetlinkMessages(dump);
            while (messages.MoveNext() && messages.Current.Type != NetlinkMessageType.Done)
                if (!visitor.Visit(messages.Current)) throw new InvalidOperationException();
        });
        Assert.Equal(9ul, counts.Aggregate(0ul, static (sum, c) => sum + c.Flows));
    }

    private static void Walk(string file, ConntrackFlowVisitor visitor)
    {
        var messages = new NetlinkMessages(Fixture.Bytes($"6.18-conntrack/netlink/{file}"));
        visitor.Begin();
        while (messages.MoveNext() && messages.Current.Type != NetlinkMessageType.Done) Assert.True(visitor.Visit(messages.Current));
        Assert.Equal(NetlinkFault.None, messages.Fault);
    }

    // What is there, in a line: ports, numbers and times of the capture included.
    private static string Describe(ConntrackEvent e) => e switch
    {
        ConntrackFlowEvent f => string.Create(CultureInfo.InvariantCulture,
            $"{f.Change} {f.Original} | {f.Reply} | {f.TcpState} [{f.Status}] {f.Timeout} icmp {f.IcmpType}/{f.IcmpIdentifier} {f.OriginalTraffic?.Packets}/{f.OriginalTraffic?.Bytes} {f.ReplyTraffic?.Packets}/{f.ReplyTraffic?.Bytes} mark {f.Mark} zone {f.Zone} {f.Began:O} {f.Ended:O}"),
        ConntrackExpectationEvent x => string.Create(CultureInfo.InvariantCulture, $"{x.Change} expected {x.Expected} of {x.Master} by {x.Helper} {x.Timeout}"),
        _ => e.ToString(),
    };
}
