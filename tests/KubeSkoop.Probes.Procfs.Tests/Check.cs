using System.Text;
using CsCheck;
using KubeSkoop.Probes.Procfs.Text;

namespace KubeSkoop.Probes.Procfs.Tests;

/// <summary>What every parser must do with any bytes at all.</summary>
internal static class Check
{
    /// <summary>Bytes of no form, bytes of nearly the right form, and good files with something broken.</summary>
    internal static Gen<byte[]> Hostile(params byte[][] good)
    {
        Gen<byte[]> noise = Gen.Byte.Array[0, 400];
        Gen<byte[]> nearly = OneOf("Tcp:", "Udp6", "cpu", ":", "|", "\n", "\n", " ", " ", "\t", "0", "7", "-1", "-", "1234567890123456789012345", "\0", "ff", "Ü", "TCP: inuse 3", "lo:")
            .Array[0, 80].Select(static parts => Encoding.UTF8.GetBytes(string.Concat(parts)));
        if (good.Length == 0) return Gen.OneOf(noise, nearly);
        Gen<byte[]> broken = Gen.Select(OneOf(good), Gen.Int[0, 1 << 20], Gen.Byte, Gen.Int[0, 4], (file, at, value, how) =>
        {
            byte[] copy = [.. file];
            if (copy.Length == 0) return copy;
            at %= copy.Length;
            switch (how)
            {
                case 0: copy[at] = value; return copy;
                case 1: return [.. copy[..at], .. copy[(at + 1)..]];
                case 2: return [.. copy[..at], value, .. copy[at..]];
                case 3: return copy[..at];
                default: return [.. copy[..at], .. copy[(copy.Length / 2)..]];
            }
        });
        return Gen.OneOf(noise, nearly, broken);
    }

    private static Gen<T> OneOf<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    /// <summary>Files that are wrong in ways that people have met.</summary>
    internal static IEnumerable<byte[]> Bad(byte[] good)
    {
        yield return [];
        yield return "\n"u8.ToArray();
        yield return [.. Enumerable.Repeat((byte)'7', 200 * 1024)];
        yield return [.. Enumerable.Repeat((byte)' ', 200 * 1024)];
        yield return [.. Enumerable.Repeat((byte)'\n', 200 * 1024)];
        yield return new byte[4096];
        yield return [.. Enumerable.Repeat((byte)0xff, 4096)];
        yield return [.. good, .. "garbage"u8];
        yield return [.. good, .. good, .. good];
        yield return Encoding.ASCII.GetBytes(Encoding.Latin1.GetString(good).Replace("0", "1234567890123456789012345", StringComparison.Ordinal));
        yield return Encoding.ASCII.GetBytes(Encoding.Latin1.GetString(good).Replace(" ", "", StringComparison.Ordinal));
        yield return Encoding.ASCII.GetBytes(Encoding.Latin1.GetString(good).Replace("\n", "\n\n", StringComparison.Ordinal));
    }

    /// <summary>A table parser never throws and says no where a file is cut, whatever the layout has learned before.</summary>
    internal static void Table(Func<ITableLayout> make, ColumnSet[] sets, byte[][] good)
    {
        ITableLayout learned = make();
        var slots = new Reading[learned.SlotCount];
        foreach (byte[] file in good)
        {
            Assert.True(learned.TryParse(file, slots, out ParseFault fault), fault.ToString());
            Reading[] whole = [.. slots];

            // A second layout reads the same; nothing depends on what was read before.
            ITableLayout fresh = make();
            Assert.True(fresh.TryParse(file, slots, out _));
            Assert.Equal(ByName(learned, sets, whole), ByName(fresh, sets, slots));

            // Cut anywhere, nothing that comes back is wrong: at a line's end the file may be a whole one of another kernel.
            for (int length = 0; length < file.Length; length++)
            {
                if (!learned.TryParse(file.AsSpan(0, length), slots, out fault))
                {
                    Assert.NotEqual(FaultKind.None, fault.Kind);
                    Assert.InRange(fault.Line, 1, int.MaxValue);
                    continue;
                }
                Assert.Equal((byte)'\n', file[length - 1]);
                for (int i = 0; i < slots.Length; i++)
                    if (slots[i].HasValue) Assert.Equal(whole[i], slots[i]);
            }
            foreach (byte[] bad in Bad(file)) _ = learned.TryParse(bad, slots, out _);
            Assert.True(learned.TryParse(file, slots, out _));
            Assert.Equal(ByName(learned, sets, whole), ByName(learned, sets, slots));

            Quiet(() => learned.TryParse(file, slots, out _));
        }
        Hostile(good).Sample(bytes =>
        {
            bool ok = learned.TryParse(bytes, slots, out ParseFault fault);
            if (ok != (fault.Kind == FaultKind.None)) return false;
            ITableLayout fresh = make();
            var again = new Reading[slots.Length];
            // What a layout has learned may make it stricter about blanks, never give another number.
            if (!fresh.TryParse(bytes, again, out _) || !ok) return true;
            IReadOnlyDictionary<string, ulong> expected = ByName(fresh, sets, again), actual = ByName(learned, sets, slots);
            return expected.All(e => !actual.TryGetValue(e.Key, out ulong value) || value == e.Value);
        }, iter: 3000, threads: 1);
        foreach (byte[] file in good) Assert.True(learned.TryParse(file, slots, out _)); // nothing it has met has spoilt it
    }

    /// <summary>Every number that is there, by its section and name, those of other columns too.</summary>
    internal static IReadOnlyDictionary<string, ulong> ByName(ITableLayout layout, ColumnSet[] sets, Reading[] slots)
    {
        var named = new SortedDictionary<string, ulong>(StringComparer.Ordinal);
        foreach (ColumnSet set in sets)
        {
            string[] names = [.. set.Columns, .. layout.OthersOf(set)];
            for (int i = 0; i < names.Length; i++)
                if (slots[layout.OffsetOf(set) + i].ToNullable() is { } value) named.Add(set.Section + names[i], value);
        }
        return named;
    }

    /// <summary>Once warm, an action allocates nothing.</summary>
    internal static void Quiet(Action action)
    {
        for (int i = 0; i < 100; i++) action();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 20; i++) action();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    /// <summary>A set's column in parsed slots.</summary>
    internal static Reading Slot(ITableLayout layout, ColumnSet set, string column, Reading[] slots) =>
        slots[layout.OffsetOf(set) + Array.IndexOf(set.Columns.ToArray(), column)];
}
