using System.Diagnostics;
using System.Globalization;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary>A C program that waits for commands, so that its turns and ours alternate within one run.</summary>
internal sealed class NativeLoop : IDisposable
{
    private readonly Process _process;

    internal NativeLoop(string program, params string[] arguments)
    {
        _process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
    }

    internal int Id => _process.Id;

    internal string ReadLine() =>
        _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"{_process.StartInfo.FileName} ended; its message is above.");

    internal long[] Ask(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        return [.. ReadLine().Split(' ').Select(static w => long.Parse(w, CultureInfo.InvariantCulture))];
    }

    public void Dispose()
    {
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }
}
