using KubeSkoop.Exporter.Cli;

return await ExporterCli.RunAsync(args, CliHost.ForProcess());
