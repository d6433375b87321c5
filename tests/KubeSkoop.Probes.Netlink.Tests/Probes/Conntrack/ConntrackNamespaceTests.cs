using System.Buffers.Binary;
using CsCheck;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.Conntrack;

public sealed class ConntrackNamespaceTests
{
    [Fact]
    public void Counters_of_32_bits_go_on_over_a_wrap_on_any_number_of_CPUs()
    {
        Gen<uint[][]> growth = Gen.Int[1, 6].SelectMany(static cpus => Gen.UInt[0, uint.MaxValue / 8].Array[cpus].Array[1, 20]);
        growth.Sample(rounds =>
        {
            ConntrackNamespace state = New();
            var cpus = new uint[rounds[0].Length];
            ulong expected = 0;
            bool first = true;
            foreach (uint[] round in rounds)
            {
                for (int i = 0; i < cpus.Length; i++)
                {
                    cpus[i] = unchecked(cpus[i] + round[i]);
                    expected += round[i];
                }
                if (first) expected = cpus.Aggregate(0ul, static (sum, c) => sum + c);
                first = false;
                state.Fold(Sums(10, cpus));
            }
            var record = default(ConntrackRecord);
            state.Write(ref record);
            return record.Dropped.Value == expected && !record.Found.HasValue;
        });
    }

    [Fact]
    public void Trouble_is_told_once_and_what_was_before_is_history()
    {
        ConntrackNamespace state = New();
        state.Fold(Statistics(dropped: 7, early: 3, insertFailed: 2, chains: 1));
        Assert.False(state.TryTakeTrouble(out _));

        state.Fold(Statistics(dropped: 9, early: 3, insertFailed: 3, chains: 1));
        Assert.True(state.TryTakeTrouble(out ConntrackNamespace.Trouble trouble));
        Assert.Equal(new ConntrackNamespace.Trouble(2, 0, 1, 0), trouble);
        Assert.True(trouble.IsTableFull); // one drop is the failed insertion's, the other is not
        Assert.False(state.TryTakeTrouble(out _));

        state.Fold(Statistics(dropped: 10, early: 3, insertFailed: 4, chains: 2));
        Assert.True(state.TryTakeTrouble(out trouble));
        Assert.Equal(new ConntrackNamespace.Trouble(1, 0, 1, 1), trouble);
        Assert.True(trouble.IsTableFull); // a long chain is no drop, so the drop is another's

        state.Fold(Statistics(dropped: 10, early: 4, insertFailed: 4, chains: 2));
        Assert.True(state.TryTakeTrouble(out trouble));
        Assert.True(trouble.IsTableFull);
    }

    [Theory]
    [InlineData(3, 5, 5, 3)] // long chains do not hide a full table
    [InlineData(3, 5, 2, 0)] // three of five that clashed are the drops
    [InlineData(0, 0, 4, 0)] // chains of another look
    [InlineData(9, 2, 0, 7)]
    public void Packets_refused_for_want_of_room_are_told_from_insertions_that_failed(ulong dropped, ulong insertFailed, ulong chains, ulong refused)
    {
        var trouble = new ConntrackNamespace.Trouble(dropped, 0, insertFailed, chains);
        Assert.Equal((refused, refused > 0), (trouble.Refused, trouble.IsTableFull));
    }

    [Fact]
    public void A_namespace_born_under_the_probe_has_no_history()
    {
        var state = new ConntrackNamespace(new NetworkNamespace(1, false, new NamespaceFacts(null, null, null, null)), hasHistory: false);
        state.Fold(Statistics(dropped: 7, early: 0, insertFailed: 2, chains: 0));
        Assert.True(state.TryTakeTrouble(out ConntrackNamespace.Trouble trouble));
        Assert.Equal(new ConntrackNamespace.Trouble(7, 0, 2, 0), trouble);
        Assert.False(state.TryTakeTrouble(out _));
    }

    [Fact]
    public void Trouble_is_told_over_a_wrap()
    {
        ConntrackNamespace state = New();
        state.Fold(Sums(10, [uint.MaxValue]));
        state.Fold(Sums(10, [1]));
        Assert.True(state.TryTakeTrouble(out ConntrackNamespace.Trouble trouble));
        Assert.Equal(2ul, trouble.Dropped);
    }

    private static ConntrackNamespace New() => new(new NetworkNamespace(1, true, new NamespaceFacts(null, null, null, null)));

    private static ConntrackStatistics Sums(ushort type, uint[] cpus) => Sum([.. cpus.Select(c => new[] { (type, c) })]);

    private static ConntrackStatistics Statistics(uint dropped, uint early, uint insertFailed, uint chains) =>
        Sum([(10, dropped), (11, early), (9, insertFailed), (15, chains)]);

    // As they come: a message per CPU.
    private static ConntrackStatistics Sum(params (ushort Type, uint Number)[][] cpus)
    {
        var visitor = new ConntrackStatisticsVisitor();
        visitor.Begin();
        foreach ((ushort Type, uint Number)[] cpu in cpus)
        {
            NetlinkWriter writer = ConntrackMessages.Write(new byte[256], ConntrackMessages.GetStatsCpu, ConntrackMessages.FamilyAny);
            foreach ((ushort type, uint number) in cpu) writer.Attribute(type, BinaryPrimitives.ReverseEndianness(number));
            var messages = new NetlinkMessages(writer.Finish());
            Assert.True(messages.MoveNext());
            Assert.True(visitor.Visit(messages.Current));
        }
        return visitor.Sums;
    }
}
