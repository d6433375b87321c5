using KubeSkoop.Probes;
using KubeSkoop.Probes.Netlink;
using KubeSkoop.Probes.Procfs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

var builder = Host.CreateApplicationBuilder(args);
builder.Services.AddKubeSkoopProbes(probes => probes.Enable("tcp", "qdisc")).AddProcfs().AddNetlink();
using IHost host = builder.Build();
await host.StartAsync();

// Once a second: what changed in every network namespace of this machine.
var tcp = (IMetricProbe<TcpRecord>)host.Services.GetRequiredService<IProbeManager>().Find("tcp")!;
var qdisc = (IMetricProbe<QdiscRecord>)host.Services.GetRequiredService<IProbeManager>().Find("qdisc")!;
var before = new Dictionary<SampleSubject, ulong>();
CancellationToken stopping = host.Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
for (; !stopping.IsCancellationRequested; await Task.Delay(1000, stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing))
{
    foreach (var row in tcp.Sample()) Print(row.Subject, "segments retransmitted", row.Value.RetransmittedSegments);
    foreach (var row in qdisc.Sample())
        if (row.Value.Bytes.HasValue) Print(row.Subject, $"bytes sent through {string.Join(' ', row.Subject.Attributes.ToArray().Select(static a => a.Value))}", row.Value.Bytes);
}
await host.StopAsync();

void Print(SampleSubject subject, string what, Reading now)
{
    if (before.TryGetValue(subject, out ulong last) && now.GetValueOrDefault() != last)
        Console.WriteLine($"{subject.Namespace}: +{now.GetValueOrDefault() - last} {what}");
    before[subject] = now.GetValueOrDefault();
}
