using System.Collections;
using System.Globalization;
using System.Text.Json;

namespace KubeSkoop.Exporter.Configuration;

/// <summary>The configuration cannot be used. The message is for people.</summary>
internal sealed class ConfigurationException(string message) : Exception(message);

/// <summary>
/// A command's own defaults, then file, then environment, then command line; the later wins. A variable <c>KUBESKOOP_PROBES__FD__COUNTSOCKETS</c> is the
/// key <c>KubeSkoop:Probes:fd:CountSockets</c>.
/// </summary>
internal static class ConfigurationLoader
{
    internal const string VariablePrefix = "KUBESKOOP_";

    /// <exception cref="ConfigurationException">The file is missing or broken, or a setting has no value.</exception>
    internal static IConfigurationRoot Load(string? file, IDictionary environment, IEnumerable<string> settings,
        IEnumerable<KeyValuePair<string, string?>> commandLine, IEnumerable<KeyValuePair<string, string?>>? defaults = null)
    {
        var builder = new ConfigurationBuilder();
        builder.AddInMemoryCollection(defaults ?? []);
        if (file is not null) builder.AddJsonStream(Read(file));
        builder.AddInMemoryCollection(Variables(environment));
        builder.AddInMemoryCollection(Settings(settings));
        builder.AddInMemoryCollection(commandLine);
        try
        {
            return builder.Build();
        }
        catch (FormatException e)
        {
            throw new ConfigurationException($"The configuration file {file} cannot be used: {e.Message}");
        }
    }

    /// <summary>
    /// The names of the probes to run: a list in the file, or one text with commas; a text (which is what variables and
    /// the command line give) replaces the file's list as a whole.
    /// </summary>
    internal static string[] EnabledProbes(IConfiguration configuration)
    {
        IConfigurationSection section = configuration.GetSection($"{ProbesOptions.SectionName}:{nameof(ProbesOptions.Enabled)}");
        if (section.Value is { Length: > 0 } text) return text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (section.Value is not null) return [];
        string[] list = [.. section.GetChildren().Select(static c => c.Value?.Trim() ?? string.Empty).Where(static n => n.Length > 0)];
        return list.Length > 0 ? list : ExporterOptions.DefaultProbes;
    }

    // Parsed here once, because the provider's own message tells neither line nor column.
    private static MemoryStream Read(string file)
    {
        byte[] content;
        try
        {
            content = File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException($"The configuration file {file} cannot be read: {e.Message}");
        }
        try
        {
            using JsonDocument document = JsonDocument.Parse(content.AsMemory(Preamble(content)),
                new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new ConfigurationException($"The configuration file {file} must hold a JSON object, like {{ \"KubeSkoop\": {{ ... }} }}.");
        }
        catch (JsonException e)
        {
            string reason = e.Message.Split(" LineNumber:", 2)[0].Split(" Path:", 2)[0];
            throw new ConfigurationException(string.Create(CultureInfo.InvariantCulture,
                $"The configuration file {file} is broken in line {(e.LineNumber ?? 0) + 1}, column {(e.BytePositionInLine ?? 0) + 1}: {reason}"));
        }
        return new MemoryStream(content);
    }

    private static int Preamble(byte[] content) => content.AsSpan().StartsWith("\uFEFF"u8) ? 3 : 0;

    private static IEnumerable<KeyValuePair<string, string?>> Variables(IDictionary environment)
    {
        foreach (DictionaryEntry variable in environment)
        {
            if (variable.Key is string name && name.StartsWith(VariablePrefix, StringComparison.OrdinalIgnoreCase) && name.Length > VariablePrefix.Length)
                yield return new($"KubeSkoop:{name[VariablePrefix.Length..].Replace("__", ":", StringComparison.Ordinal)}", variable.Value as string);
        }
    }

    private static IEnumerable<KeyValuePair<string, string?>> Settings(IEnumerable<string> settings)
    {
        foreach (string setting in settings)
        {
            int equals = setting.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0) throw new ConfigurationException($"--set {setting}: write it as Key=Value, for example --set KubeSkoop:Probes:NodeName=node-1.");
            yield return new(setting[..equals].Trim(), setting[(equals + 1)..]);
        }
    }
}
