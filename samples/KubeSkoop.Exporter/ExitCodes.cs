namespace KubeSkoop.Exporter;

/// <summary>What the process says when it ends; documented in the README.</summary>
internal static class ExitCodes
{
    internal const int Ok = 0;

    /// <summary>Something we did not foresee.</summary>
    internal const int Failed = 1;

    /// <summary>A wrong argument, an unknown probe or namespace, a broken configuration.</summary>
    internal const int Usage = 2;

    /// <summary>The probe cannot run on this machine.</summary>
    internal const int Unavailable = 3;

    /// <summary>The address cannot be listened on.</summary>
    internal const int AddressInUse = 4;
}
