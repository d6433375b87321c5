using System.Globalization;
using System.Security.Cryptography;
using KubeSkoop.Probes.Fuzz;
using SharpFuzz;

// See docs/fuzzing.md.
switch (args)
{
    case ["list"]:
        foreach (string known in Targets.All.Keys) Console.WriteLine(known);
        return 0;
    case ["all", .. var rest]:
        foreach (string known in Targets.All.Keys)
            if (Smoke(known, rest) is var code and not 0) return code;
        return 0;
    case [var name, "--libfuzzer", ..] when Targets.All.ContainsKey(name):
        FuzzTarget target = Targets.All[name].Target;
        Fuzzer.LibFuzzer.Run(bytes => target(bytes));
        return 0;
    case [var name, "--file", var file] when Targets.All.ContainsKey(name):
        Targets.All[name].Target(File.ReadAllBytes(file));
        Console.WriteLine($"{name}: {file} keeps every promise.");
        return 0;
    case [var name, .. var rest] when Targets.All.ContainsKey(name):
        return Smoke(name, rest);
    default:
        Console.Error.WriteLine("usage: <parser>|all [--iterations N] [--seed N] [--corpus DIRECTORY] | <parser> --file FILE | <parser> --libfuzzer | list");
        return 2;
}

// Random mutations of good texts, without instrumentation: shallow, but quick enough to run with the tests.
static int Smoke(string name, string[] options)
{
    int iterations = Option(options, "--iterations", 20_000);
    int seed = Option(options, "--seed", 1);
    int directory = Array.IndexOf(options, "--corpus");
    (FuzzTarget target, string[] files) = Targets.All[name];
    List<byte[]> corpus = Corpus(files, directory >= 0 && directory + 1 < options.Length ? options[directory + 1] : null);
    var mutator = new Mutator(corpus, seed);
    byte[] text = [];
    int done = 0;
    int doneBefore = -1;
    // An endless loop cannot be caught, only told.
    using var watchdog = new Timer(_ =>
    {
        if (Volatile.Read(ref done) == doneBefore) Environment.Exit(Report(name, seed, text, "does not come to an end"));
        doneBefore = Volatile.Read(ref done);
    }, null, TimeSpan.FromSeconds(20), TimeSpan.FromSeconds(20));
    try
    {
        foreach (byte[] good in corpus)
        {
            text = good;
            target(good);
        }
        while (done < iterations)
        {
            text = mutator.Next();
            target(text);
            Interlocked.Increment(ref done);
        }
    }
#pragma warning disable CA1031 // Any exception is what is looked for.
    catch (Exception e)
#pragma warning restore CA1031
    {
        return Report(name, seed, text, e.ToString());
    }
    Console.WriteLine($"{name}: {done} texts from {corpus.Count}, every promise kept");
    return 0;
}

static int Report(string name, int seed, byte[] text, string what)
{
    string hash = Convert.ToHexStringLower(SHA256.HashData(text))[..12];
    string file = Path.Combine(Path.GetTempPath(), $"fuzz-{name}-{hash}.bin");
    File.WriteAllBytes(file, text);
    Console.Error.WriteLine($"{name}: {what}");
    Console.Error.WriteLine($"The text (of seed {seed}) is kept in {file}; again with: {name} --file {file}");
    return 1;
}

static List<byte[]> Corpus(string[] files, string? directory)
{
    var corpus = new List<byte[]>();
    foreach (string file in files)
    {
        string live = Path.Combine("/proc", file);
        if (File.Exists(live)) corpus.Add(Read(live));
        if (directory is null) continue;
        // A capture keeps the kernel's paths: <kernel>-<scene>/proc/net/snmp. /proc/self is /proc/<pid> there.
        string end = Path.GetFileName(file);
        corpus.AddRange(Directory.EnumerateFiles(directory, "*", SearchOption.AllDirectories)
            .Where(f => Path.GetFileName(f) == end).Order(StringComparer.Ordinal).Select(Read));
    }
    if (corpus.Count == 0) corpus.Add([.. "name: 1 2 3\n"u8]);
    return corpus;
}

// To its end, whatever size the kernel claims it has.
static byte[] Read(string file)
{
    using FileStream stream = File.OpenRead(file);
    using var content = new MemoryStream();
    stream.CopyTo(content);
    return content.ToArray();
}

static int Option(string[] options, string name, int otherwise)
{
    int at = Array.IndexOf(options, name);
    return at >= 0 && at + 1 < options.Length ? int.Parse(options[at + 1], NumberStyles.None, CultureInfo.InvariantCulture) : otherwise;
}
