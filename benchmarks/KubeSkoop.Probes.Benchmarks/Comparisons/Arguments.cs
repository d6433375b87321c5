using System.Globalization;

namespace KubeSkoop.Probes.Benchmarks.Comparisons;

/// <summary><c>--name value</c> and <c>--flag</c>.</summary>
internal sealed class Arguments(string[] args)
{
    internal bool Has(string flag) => Array.IndexOf(args, flag) >= 0;

    internal string Text(string name, string? otherwise = null)
    {
        int at = Array.IndexOf(args, name);
        if (at >= 0 && at + 1 < args.Length) return args[at + 1];
        return otherwise ?? throw new ArgumentException($"{name} is missing; start this through bench.sh, which knows what to pass.");
    }

    internal int Number(string name, int otherwise) =>
        int.Parse(Text(name, otherwise.ToString(CultureInfo.InvariantCulture)), NumberStyles.None, CultureInfo.InvariantCulture);

    internal int[] Numbers(string name, int[] otherwise) =>
        [.. Text(name, string.Join(',', otherwise)).Split(',').Select(static n => int.Parse(n, NumberStyles.None, CultureInfo.InvariantCulture))];
}
