using System.Reflection;
using System.Runtime.InteropServices;

namespace KubeSkoop.Probes.Ebpf.Interop;

/// <summary>A libbpf that has been loaded.</summary>
/// <param name="Handle">The loader's handle; never freed once its functions are bound.</param>
/// <param name="Path">Its path, or the name under which the system's loader found it.</param>
/// <param name="Version">Major and minor version, as it says itself.</param>
internal sealed record LoadedLibbpf(nint Handle, string Path, Version Version);

/// <summary>
/// Finds libbpf, once for the process: the one that was asked for, and then no other; else the packaged one; else the system's.
/// </summary>
internal static class LibbpfResolver
{
    /// <summary>The library's name in <c>LibraryImport</c>.</summary>
    internal const string Name = "libbpf";

    private const string FileName = "libbpf.so";
    private const string SystemName = "libbpf.so.1";

    // 1.0 took away what was deprecated and gave errors as they are now.
    private static readonly Version Least = new(1, 0);

    private static readonly Lock Gate = new();
    private static LoadedLibbpf? _loaded;

    /// <summary>What was loaded, if anything was.</summary>
    internal static LoadedLibbpf? Loaded => _loaded;

    /// <summary>Loads libbpf. Call it before the first import is called. Later calls give what is loaded, whatever they ask for.</summary>
    /// <param name="explicitPath">A library to use, see <see cref="EbpfOptions.LibraryPath"/>; null: the packaged one, else the system's.</param>
    /// <exception cref="ProbeUnavailableException">There is none, or it is too old; says what was tried. May be tried again.</exception>
    internal static LoadedLibbpf Load(string? explicitPath = null)
    {
        lock (Gate)
        {
            if (_loaded is not null) return _loaded;
            LoadedLibbpf found = Find(explicitPath, PackagedPaths());
            NativeLibrary.SetDllImportResolver(Assembly.GetExecutingAssembly(), static (name, _, _) => name == Name ? _loaded!.Handle : 0);
            return _loaded = found;
        }
    }

    /// <summary>Tries one place after the other; what is found is loaded.</summary>
    /// <exception cref="ProbeUnavailableException">Nothing was found; says what was tried and why each was refused.</exception>
    internal static LoadedLibbpf Find(string? explicitPath, IEnumerable<string> packagedPaths, string systemName = SystemName)
    {
        // Who names a library wants that one and no other.
        bool asked = !string.IsNullOrEmpty(explicitPath);
        string[] candidates = asked ? [explicitPath!] : [.. packagedPaths, systemName];
        var refused = new List<string>(candidates.Length);
        foreach (string candidate in candidates)
        {
            if (Try(candidate, out string? problem) is { } found) return found;
            refused.Add($"{candidate} ({problem})");
        }
        throw new ProbeUnavailableException("ebpf", "libbpf cannot be loaded", $"tried {string.Join("; ", refused)}", asked
            ? $"Set {EbpfOptions.SectionName}:{nameof(EbpfOptions.LibraryPath)} to a libbpf {Least} or later, or remove it to use the packaged one."
            : $"Install libbpf {Least} or later (Debian package libbpf1), or set {EbpfOptions.SectionName}:{nameof(EbpfOptions.LibraryPath)} to one.");
    }

    /// <summary>Where the package's library is: beside a published program, below <c>runtimes</c> of a built one, else where the host was told to look.</summary>
    internal static IReadOnlyList<string> PackagedPaths()
    {
        var paths = new List<string> { Path.Combine(AppContext.BaseDirectory, FileName) };
        string? architecture = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => "linux-x64",
            Architecture.Arm64 => "linux-arm64",
            _ => null,
        };
        if (architecture is not null) paths.Add(Path.Combine(AppContext.BaseDirectory, "runtimes", architecture, "native", FileName));
        // Programs that run out of the package cache, and libraries unpacked from a single file.
        if (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") is string directories)
        {
            foreach (string directory in directories.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
            {
                string path = Path.Combine(directory, FileName);
                if (!paths.Contains(path) && File.Exists(path)) paths.Add(path);
            }
        }
        return paths;
    }

    private static LoadedLibbpf? Try(string path, out string? problem)
    {
        if (path.Contains('/', StringComparison.Ordinal) && !File.Exists(path))
        {
            problem = "there is no such file";
            return null;
        }
        nint handle;
        try
        {
            handle = NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            problem = ReasonIn(e.Message, path);
            return null;
        }
        problem = VersionOf(handle, out Version? version) switch
        {
            false => $"is no libbpf {Least} or later",
            true when version! < Least => $"is libbpf {version}; {Least} or later is needed",
            true => null,
        };
        if (problem is null) return new LoadedLibbpf(handle, path, version!);
        NativeLibrary.Free(handle);
        return null;
    }

    private static unsafe bool VersionOf(nint handle, out Version? version)
    {
        version = null;
        if (!NativeLibrary.TryGetExport(handle, "libbpf_major_version", out nint major)
            || !NativeLibrary.TryGetExport(handle, "libbpf_minor_version", out nint minor)) return false;
        version = new Version((int)((delegate* unmanaged<uint>)major)(), (int)((delegate* unmanaged<uint>)minor)());
        return true;
    }

    // The runtime's advice comes first, the loader's own words last: "PATH: file too short".
    private static string ReasonIn(string message, string path)
    {
        string line = message.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries) is [.., var last] ? last : message;
        return line.StartsWith(path + ": ", StringComparison.Ordinal) ? line[(path.Length + 2)..] : line;
    }
}
