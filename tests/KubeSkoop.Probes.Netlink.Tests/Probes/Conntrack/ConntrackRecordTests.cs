using System.Reflection;

namespace KubeSkoop.Probes.Netlink.Tests.Probes.Conntrack;

public sealed class ConntrackRecordTests
{
    [Fact]
    public void Every_field_has_a_metric_that_reads_it()
    {
        var read = new HashSet<string>();
        foreach (FieldInfo field in typeof(ConntrackRecord).GetFields(BindingFlags.Public | BindingFlags.Instance))
        {
            object boxed = default(ConntrackRecord);
            field.SetValue(boxed, new Reading(7));
            var record = (ConntrackRecord)boxed;
            string[] showing = [.. ConntrackRecord.Metrics.Where(m => m.Read!(in record).Kind != MetricValueKind.Absent).Select(static m => m.Name)];
            Assert.True(showing.Length == 1, $"{field.Name} is read by [{string.Join(", ", showing)}].");
            Assert.True(read.Add(showing[0]), $"{showing[0]} reads two fields.");
        }
        Assert.Equal(["kubeskoop.conntrack.usage"], ConntrackRecord.Metrics.Select(static m => m.Name).Except(read));
    }

    [Fact]
    public void Usage_is_entries_by_their_limit_and_absent_without_one()
    {
        Assert.Equal(0.25, new ConntrackRecord { Entries = 5, Maximum = 20 }.Usage);
        Assert.Null(new ConntrackRecord { Entries = 5, Maximum = 0 }.Usage);
        Assert.Null(new ConntrackRecord { Entries = 5 }.Usage);
        Assert.Null(new ConntrackRecord { Maximum = 5 }.Usage);
    }

    [Fact]
    public void Upstreams_names_are_all_there_and_carry_rows_of_namespaces_only()
    {
        Assert.Equal(
            ["drop", "earlydrop", "entries", "error", "found", "ignore", "insert", "insertfailed", "invalid", "maxentries", "searchrestart"],
            ConntrackRecord.Metrics.Upstream.Select(static m => m.UpstreamName!["kubeskoop_conntrack_".Length..]).Order(StringComparer.Ordinal));
        Assert.Equal(MetricKind.Gauge, ConntrackRecord.Metrics.UpstreamKind);
        var ofNamespace = new ConntrackRecord { Entries = 0 };
        var ofFlows = new ConntrackRecord { Flows = 3 };
        Assert.True(ConntrackRecord.Metrics.UpstreamRows!(in ofNamespace));
        Assert.False(ConntrackRecord.Metrics.UpstreamRows(in ofFlows));
        // Upstream shows 0 where current kernels count nothing.
        Assert.Equal(0ul, ConntrackRecord.Metrics.Upstream.Single(static m => m.UpstreamName == "kubeskoop_conntrack_ignore").ReadUpstream!(in ofNamespace).UInt64);
    }
}
