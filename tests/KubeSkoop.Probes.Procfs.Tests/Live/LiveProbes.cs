using System.Runtime.InteropServices;
using Microsoft.Extensions.DependencyInjection;

namespace KubeSkoop.Probes.Procfs.Tests.Live;

/// <summary>Probes on this machine's real <c>/proc</c>, as a host has them.</summary>
internal sealed class LiveProbes : IAsyncDisposable
{
    private readonly ServiceProvider _services;

    private LiveProbes(ServiceProvider services) => _services = services;

    internal IProbeManager Manager => _services.GetRequiredService<IProbeManager>();

    internal ProcNamespaceSource Namespaces => _services.GetRequiredService<ProcNamespaceSource>();

    internal static async Task<LiveProbes> StartAsync(params string[] probes)
    {
        var services = new ServiceCollection();
        services.AddKubeSkoopProbes().AddProcfs();
        var live = new LiveProbes(services.BuildServiceProvider());
        foreach (string probe in probes) await live.Manager.StartAsync(probe);
        return live;
    }

    /// <summary>A probe's rows of one namespace, as of now.</summary>
    internal TRecord[] Records<TRecord>(string probe, TestNamespace ns)
        where TRecord : struct => [.. Rows<TRecord>(probe, ns).Select(static r => r.Value)];

    /// <summary>The one row of a namespace.</summary>
    internal TRecord Record<TRecord>(string probe, TestNamespace ns)
        where TRecord : struct => Assert.Single(Records<TRecord>(probe, ns));

    /// <summary>A probe's rows of one namespace, with whom they are about.</summary>
    internal SampleRow<TRecord>[] Rows<TRecord>(string probe, TestNamespace ns)
        where TRecord : struct => [.. All<TRecord>(probe).Where(r => r.Namespace?.Inode == ns.Inode)];

    /// <summary>All rows of a probe.</summary>
    internal SampleRow<TRecord>[] All<TRecord>(string probe)
        where TRecord : struct
    {
        Namespaces.Refresh();
        var rows = new List<SampleRow<TRecord>>();
        foreach (ref readonly SampleRow<TRecord> row in ((IMetricProbe<TRecord>)Manager.Find(probe)!).Sample()) rows.Add(row);
        return [.. rows];
    }

    /// <summary>
    /// What we read and what <c>nstat</c> reads, with nothing in between: a reading before and one after the witness are the same. So
    /// a timer that fires meanwhile (an address report of IPv6, a retransmission) cannot make them differ.
    /// </summary>
    internal async Task<(TRecord[] Ours, IReadOnlyDictionary<string, ulong> Witness)> BesideNstatAsync<TRecord>(string probe, TestNamespace ns)
        where TRecord : unmanaged
    {
        TRecord[] ours = [];
        IReadOnlyDictionary<string, ulong> witness = new Dictionary<string, ulong>();
        await Eventually.TrueAsync(
            async () =>
            {
                ours = Records<TRecord>(probe, ns);
                witness = await ns.NstatAsync();
                return MemoryMarshal.AsBytes<TRecord>(ours).SequenceEqual(MemoryMarshal.AsBytes<TRecord>(Records<TRecord>(probe, ns)));
            },
            "the namespace to be quiet");
        return (ours, witness);
    }

    /// <summary>Holds a record's fields against the witness, column by column; returns how many columns both know.</summary>
    internal static int AssertEqual<TRecord>(TRecord record, ColumnSet set, int firstField, IReadOnlyDictionary<string, ulong> witness, string? prefix = null)
        where TRecord : unmanaged
    {
        Span<Reading> fields = MemoryMarshal.Cast<TRecord, Reading>(new Span<TRecord>(ref record));
        int both = 0;
        for (int i = 0; i < set.Columns.Length; i++)
        {
            string name = (prefix ?? set.Section.TrimEnd(':')) + set.Columns[i];
            if (set.Columns[i].Length == 0 || !witness.TryGetValue(name, out ulong expected)) continue;
            Assert.True(fields[firstField + i].HasValue, $"{name} is absent; nstat has {expected}.");
            Assert.True(expected == fields[firstField + i].Value, $"{name} is {fields[firstField + i].Value}; nstat has {expected}.");
            both++;
        }
        return both;
    }

    public ValueTask DisposeAsync() => _services.DisposeAsync();
}
