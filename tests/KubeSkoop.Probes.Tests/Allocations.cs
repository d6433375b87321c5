namespace KubeSkoop.Probes.Tests;

internal static class Allocations
{
    /// <summary>Runs an action often enough to be compiled for good, then says what one more run allocates.</summary>
    internal static void AssertNone(Action action)
    {
        for (int i = 0; i < 100; i++) action();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) action();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
