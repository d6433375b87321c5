using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace KubeSkoop.Probes.TestKit;

/// <summary>What a program that ran to its end said.</summary>
public sealed record CommandResult(int ExitCode, string Output, string Error);

/// <summary>Runs programs, always with a deadline.</summary>
public static class Command
{
    /// <summary>How long a program may take unless told otherwise.</summary>
    public static TimeSpan DefaultTimeout { get; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether a program is installed.</summary>
    public static bool Exists(string program) => PathOf(program) is not null;

    /// <summary>Where a program is installed; the system directories count also when PATH lacks them.</summary>
    public static string? PathOf(string program)
    {
        string path = Environment.GetEnvironmentVariable("PATH") ?? string.Empty;
        foreach (string directory in (path + ":/usr/sbin:/sbin:/usr/bin:/bin").Split(':', StringSplitOptions.RemoveEmptyEntries))
        {
            string candidate = Path.Combine(directory, program);
            if (File.Exists(candidate)) return candidate;
        }
        return null;
    }

    /// <summary>Runs a program and returns its output.</summary>
    /// <exception cref="InvalidOperationException">It is missing or failed; the message holds what it said.</exception>
    /// <exception cref="TimeoutException">It took too long, and was killed.</exception>
    public static Task<string> OutputAsync(string program, params string[] arguments) => OutputOfAsync(() => Start(program, arguments), program, arguments);

    /// <summary>The same of a program that is started elsewhere, and reads <paramref name="input"/>.</summary>
    internal static async Task<string> OutputOfAsync(Func<Process> start, string program, string[] arguments, string? input = null)
    {
        CommandResult result = await ResultOfAsync(start(), program, arguments, input);
        return result.ExitCode == 0
            ? result.Output
            : throw new InvalidOperationException($"'{program} {string.Join(' ', arguments)}' ended with {result.ExitCode}: {result.Error}{result.Output}");
    }

    /// <summary>Runs a program and returns how it ended.</summary>
    public static async Task<CommandResult> RunAsync(string program, IEnumerable<string> arguments, string? directory = null,
        IReadOnlyDictionary<string, string?>? environment = null, TimeSpan? timeout = null) =>
        await ResultOfAsync(Start(program, arguments, directory, environment), program, arguments, null, timeout);

    private static async Task<CommandResult> ResultOfAsync(Process process, string program, IEnumerable<string> arguments, string? input, TimeSpan? timeout = null)
    {
        try
        {
            if (input is not null) await process.StandardInput.WriteAsync(input);
            return await FinishAsync(process, $"{program} {string.Join(' ', arguments)}", timeout ?? DefaultTimeout);
        }
        finally
        {
            Close(process);
        }
    }

    /// <summary>Lets go of a program and of its three streams at once; a test that counts descriptors cannot wait for a finalizer.</summary>
    public static void Close(Process process)
    {
        ArgumentNullException.ThrowIfNull(process);
        process.StandardInput.Dispose();
        process.StandardOutput.Dispose();
        process.StandardError.Dispose();
        process.Dispose();
    }

    /// <summary>Starts a program with all three streams redirected.</summary>
    public static Process Start(string program, IEnumerable<string> arguments, string? directory = null,
        IReadOnlyDictionary<string, string?>? environment = null)
    {
        var start = new ProcessStartInfo(PathOf(program) ?? program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = directory ?? string.Empty,
        };
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        foreach (var (name, value) in environment ?? new Dictionary<string, string?>()) start.Environment[name] = value;
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new InvalidOperationException($"'{program}' cannot be started: {e.Message}. Install it, or mark the test as needing it.", e);
        }
    }

    private static async Task<CommandResult> FinishAsync(Process process, string name, TimeSpan limit)
    {
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        try
        {
            await process.WaitForExitAsync().WaitAsync(limit);
            await Task.WhenAll(output, error).WaitAsync(limit);
        }
        catch (TimeoutException)
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"'{name}' took longer than {limit} and was killed.");
        }
        return new CommandResult(process.ExitCode, await output, await error);
    }
}
