using System.Diagnostics;

namespace KubeSkoop.Probes.TestKit;

/// <summary>Waits for what happens soon, but never for ever.</summary>
public static class Eventually
{
    /// <summary>How long to wait unless told otherwise.</summary>
    public static TimeSpan DefaultTimeout { get; } = TimeSpan.FromSeconds(10);

    /// <summary>Waits until <paramref name="condition"/> holds.</summary>
    /// <param name="condition">Asked every few milliseconds.</param>
    /// <param name="what">What is waited for, for the message.</param>
    /// <param name="timeout">Default 10 s.</param>
    /// <exception cref="TimeoutException">It did not come to hold in time.</exception>
    public static Task TrueAsync(Func<bool> condition, string what, TimeSpan? timeout = null) =>
        TrueAsync(() => Task.FromResult(condition()), () => what, timeout);

    /// <summary>Waits until an asynchronous <paramref name="condition"/> holds.</summary>
    public static Task TrueAsync(Func<Task<bool>> condition, string what, TimeSpan? timeout = null) =>
        TrueAsync(condition, () => what, timeout);

    /// <summary>Waits until <paramref name="read"/> gives <paramref name="expected"/>; the message says what it gave last.</summary>
    public static Task EqualAsync<T>(T expected, Func<T> read, string what, TimeSpan? timeout = null)
    {
        T last = default!;
        return TrueAsync(
            () => Task.FromResult(EqualityComparer<T>.Default.Equals(last = read(), expected)),
            () => $"{what} to be {expected}; it is {last}",
            timeout);
    }

    /// <summary>Waits until the condition holds; what was waited for is put into words when it did not.</summary>
    public static async Task TrueAsync(Func<Task<bool>> condition, Func<string> what, TimeSpan? timeout = null)
    {
        TimeSpan limit = timeout ?? DefaultTimeout;
        long began = Stopwatch.GetTimestamp();
        for (int pause = 1; !await condition(); pause = Math.Min(pause * 2, 50))
        {
            if (Stopwatch.GetElapsedTime(began) > limit) throw new TimeoutException($"Waited {limit.TotalSeconds:0} s for {what()}.");
            await Task.Delay(pause);
        }
    }

    /// <summary>
    /// Runs a whole scenario anew, up to five times, until it comes out exactly. For what must not happen at all in steady state, while the kernel or the runtime may
    /// disturb one pass; a probe that does it does so each time. Or for what the kernel is known to do otherwise now and then, where the test says why.
    /// </summary>
    public static async Task ExactlyOnceInFiveAsync(Func<Task> scenario)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                await scenario();
                return;
            }
            catch (Exception) when (attempt < 5)
            {
            }
        }
    }
}
