using System.Runtime.ExceptionServices;

namespace KubeSkoop.Probes.TestKit;

/// <summary>Runs code as a user who may do nothing, within this process.</summary>
public static class Unprivileged
{
    /// <summary>The user <c>nobody</c>, who has no capability.</summary>
    public const int Nobody = 65534;

    /// <summary>
    /// Runs <paramref name="body"/> on a thread of its own whose user is <see cref="Nobody"/>, and waits for it. To the kernel a user belongs to a
    /// thread; those that the body starts inherit it. So the body must not await, nor give work to the thread pool: a pool thread made by it
    /// would stay without rights for ever.
    /// </summary>
    public static void Run(Action body)
    {
        ArgumentNullException.ThrowIfNull(body);
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Libc.BecomeUser(Nobody);
                body();
            }
#pragma warning disable CA1031 // Whatever it is, the caller shall have it.
            catch (Exception e)
#pragma warning restore CA1031
            {
                failure = e;
            }
        })
        { IsBackground = true, Name = "nobody" };
        thread.Start();
        thread.Join();
        if (failure is not null) ExceptionDispatchInfo.Throw(failure);
    }
}
