namespace KubeSkoop.Probes.Procfs.Tests.Sources;

public sealed class LookScheduleTests
{
    [Fact]
    public void What_comes_before_the_next_look_does_not_put_it_off()
    {
        var schedule = new LookSchedule(2000, now: 100);
        Assert.Equal(2000, schedule.Sleep(100, null));
        // Another namespace ends, and is looked at; its last numbers are due half a second later, twice over.
        schedule.Looked(300);
        Assert.Equal(500, schedule.Sleep(300, sooner: 800));
        Assert.False(schedule.IsDue(800));
        Assert.Equal(300, schedule.Sleep(800, sooner: 1100));
        Assert.False(schedule.IsDue(1100));
        Assert.Equal(1200, schedule.Sleep(1100, null));
        Assert.True(schedule.IsDue(2300));
        schedule.Looked(2350); // late: the machine was busy
        Assert.Equal(2000, schedule.Sleep(2350, sooner: 9000));
        Assert.Equal(0, schedule.Sleep(2400, sooner: 2390));
        Assert.Equal(0, schedule.Sleep(5000, null));
    }
}
