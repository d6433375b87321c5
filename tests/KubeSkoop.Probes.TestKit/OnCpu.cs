namespace KubeSkoop.Probes.TestKit;

/// <summary>Runs something on one CPU.</summary>
public static class OnCpu
{
    /// <summary>Runs <paramref name="body"/> there, on a thread of its own.</summary>
    /// <param name="cpu">The CPU's number.</param>
    /// <param name="name">The thread's name, which the kernel takes for its command.</param>
    /// <param name="body">What to run.</param>
    public static Task<T> RunAsync<T>(int cpu, string name, Func<T> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() =>
        {
            try
            {
                Libc.StayOn(cpu);
                done.SetResult(body());
            }
#pragma warning disable CA1031 // Whatever it is, the test that awaits shall have it.
            catch (Exception e)
#pragma warning restore CA1031
            {
                done.SetException(e);
            }
        });
        thread.Name = name;
        thread.IsBackground = true;
        thread.Start();
        return done.Task;
    }
}
