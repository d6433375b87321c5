namespace KubeSkoop.Probes.Netlink.Tests;

internal static class Check
{
    /// <summary>Once warm, an action allocates nothing.</summary>
    internal static void Quiet(Action action)
    {
        for (int i = 0; i < 100; i++) action();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++) action();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
