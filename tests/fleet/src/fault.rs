//! Damage: what is done to the fleet, to which part of it, and how it is made good again.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::etcd::MEMBER_COUNT;
use crate::fleet::{Fleet, MOVED_CLOCK, REPLICA_COUNT, path};
use crate::http;
use crate::process::{Program, until};

/// How much longer each sync of a slow disk takes, in microseconds.
const SLOW_SYNC: &str = "150000";
/// By how many seconds the clock of a replica jumps.
const JUMPS: [i64; 4] = [3_600, -3_600, 86_400, -86_400];
/// How long a jump may take to be seen: the clock is read from its file once a second.
const JUMP_MAX: Duration = Duration::from_secs(20);
/// A clock that is so many seconds beside ours has jumped.
const JUMPED_SECONDS: u64 = 1_800;

/// What can be done to a fleet, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The leading member of etcd is killed, and comes back.
    LeaderKilled,
    /// Another member is.
    MemberKilled,
    /// Two of three members are.
    QuorumLost,
    /// A replica is killed, and comes back with its disk.
    ReplicaKilled,
    /// The same without its disk.
    DiskLost,
    /// A replica does not reach etcd.
    CutOff,
    /// Two replicas do not, or each reaches one member only, another one.
    Partitioned,
    /// The clock of a replica jumps, and jumps back.
    ClockJumped,
    /// etcd forgets its past while a replica is away for a moment, and all members are defragmented.
    Compacted,
    /// etcd is full.
    SpaceQuota,
    /// Each sync of etcd's leader takes long.
    SlowEtcdDisk,
    /// Each sync of a replica, and of the git that it starts, does.
    SlowReplicaDisk,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::LeaderKilled,
        Self::MemberKilled,
        Self::QuorumLost,
        Self::ReplicaKilled,
        Self::DiskLost,
        Self::CutOff,
        Self::Partitioned,
        Self::ClockJumped,
        Self::Compacted,
        Self::SpaceQuota,
        Self::SlowEtcdDisk,
        Self::SlowReplicaDisk,
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaderKilled => "leader-killed",
            Self::MemberKilled => "member-killed",
            Self::QuorumLost => "quorum-lost",
            Self::ReplicaKilled => "replica-killed",
            Self::DiskLost => "disk-lost",
            Self::CutOff => "cut-off",
            Self::Partitioned => "partitioned",
            Self::ClockJumped => "clock-jumped",
            Self::Compacted => "compacted",
            Self::SpaceQuota => "space-quota",
            Self::SlowEtcdDisk => "slow-etcd-disk",
            Self::SlowReplicaDisk => "slow-replica-disk",
        }
    }

    /// The one that is called that.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// Damage that was done.
pub(crate) struct Damage<'a> {
    heal: Box<dyn FnOnce() -> Result<()> + 'a>,
    /// Replicas that have to say that they are cut off, and to refuse pushes for that reason.
    pub(crate) cut_off: Vec<usize>,
}

impl<'a> Damage<'a> {
    fn healed_by(heal: impl FnOnce() -> Result<()> + 'a) -> Self {
        Self { heal: Box::new(heal), cut_off: Vec::new() }
    }

    /// Makes it good again; returns once whoever was killed is back.
    pub(crate) fn heal(self) -> Result<()> {
        (self.heal)()
    }
}

/// Does it.
pub(crate) fn inflict<'a>(fault: Fault, fleet: &'a Fleet, random: &mut Rng) -> Result<Damage<'a>> {
    let replica = random.usize(..REPLICA_COUNT);
    match fault {
        Fault::LeaderKilled => Ok(kill_members(fleet, vec![fleet.cluster.leader()?])),
        Fault::MemberKilled => Ok(kill_members(fleet, vec![follower(fleet, random)?])),
        Fault::QuorumLost => {
            let kept = random.usize(..MEMBER_COUNT);
            Ok(kill_members(fleet, (0..MEMBER_COUNT).filter(|at| *at != kept).collect()))
        }
        Fault::ReplicaKilled => Ok(kill_replica(fleet, replica)),
        Fault::DiskLost => lose_disk(fleet, replica),
        Fault::CutOff => Ok(cut_off(fleet, vec![replica], random)),
        Fault::Partitioned => {
            let others = (0..REPLICA_COUNT).filter(|at| *at != replica).collect();
            Ok(if random.bool() { cut_off(fleet, others, random) } else { part(fleet, others) })
        }
        Fault::ClockJumped => jump(fleet, random),
        Fault::Compacted => compact(fleet, replica),
        Fault::SpaceQuota => {
            fleet.cluster.fill()?;
            Ok(Damage::healed_by(|| fleet.cluster.empty()))
        }
        Fault::SlowEtcdDisk => slow(fleet.cluster.id(fleet.cluster.leader()?)?),
        Fault::SlowReplicaDisk => slow(fleet.replicas[replica].id()?),
    }
}

fn kill_members(fleet: &Fleet, members: Vec<usize>) -> Damage<'_> {
    members.iter().for_each(|at| fleet.cluster.kill(*at));
    Damage::healed_by(move || fleet.cluster.restart(&members))
}

fn follower(fleet: &Fleet, random: &mut Rng) -> Result<usize> {
    let leader = fleet.cluster.leader()?;
    Ok((leader + random.usize(1..MEMBER_COUNT)) % MEMBER_COUNT)
}

fn kill_replica(fleet: &Fleet, at: usize) -> Damage<'_> {
    fleet.replicas[at].kill();
    Damage::healed_by(move || fleet.replicas[at].restart(&path(0)))
}

fn lose_disk(fleet: &Fleet, at: usize) -> Result<Damage<'_>> {
    let damage = kill_replica(fleet, at);
    fleet.replicas[at].lose_disk()?;
    Ok(damage)
}

/// Packets are lost, or connections refused.
fn cut_off<'a>(fleet: &'a Fleet, replicas: Vec<usize>, random: &mut Rng) -> Damage<'a> {
    let is_silent = random.bool();
    for way in replicas.iter().flat_map(|at| &fleet.replicas[*at].ways) {
        if is_silent { way.silence() } else { way.cut() }
    }
    let cut_off = replicas.clone();
    let damage = Damage::healed_by(move || {
        for way in replicas.iter().flat_map(|at| &fleet.replicas[*at].ways) {
            way.mend();
        }
        Ok(())
    });
    Damage { cut_off, ..damage }
}

/// Each of the replicas reaches one member only, another one.
fn part(fleet: &Fleet, replicas: Vec<usize>) -> Damage<'_> {
    let mut ways = Vec::new();
    for at in replicas {
        let others = (0..MEMBER_COUNT).filter(|member| *member != at);
        ways.extend(others.map(|member| &fleet.replicas[at].ways[member]));
    }
    ways.iter().for_each(|way| way.silence());
    Damage::healed_by(move || {
        ways.iter().for_each(|way| way.mend());
        Ok(())
    })
}

fn jump<'a>(fleet: &'a Fleet, random: &mut Rng) -> Result<Damage<'a>> {
    let replica = &fleet.replicas[MOVED_CLOCK];
    let seconds = JUMPS[random.usize(..JUMPS.len())];
    let address = replica.address();
    replica.set_clock(seconds)?;
    until("the replica sees that its clock has jumped", JUMP_MAX, || has_jumped(address))?;
    Ok(Damage::healed_by(move || {
        replica.set_clock(0)?;
        until("the replica sees that its clock is back", JUMP_MAX, || Ok(!has_jumped(address)?))
    }))
}

/// Whether a server's clock is far beside the one of this machine, by what it says of the time in its answers.
fn has_jumped(address: std::net::SocketAddr) -> Result<bool> {
    let reply = http::get(address, &path(0))?;
    let date = reply.header("date").context("no date")?;
    let output = Command::new("date").args(["--date", date, "+%s"]).output()?;
    let theirs: u64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(ours.as_secs().abs_diff(theirs) > JUMPED_SECONDS)
}

/// While the replica is away the past that it would go on from is forgotten.
fn compact(fleet: &Fleet, at: usize) -> Result<Damage<'_>> {
    let ways = &fleet.replicas[at].ways;
    ways.iter().for_each(crate::proxy::Proxy::cut);
    let healed = move || {
        fleet.cluster.compact()?;
        ways.iter().for_each(crate::proxy::Proxy::mend);
        fleet.cluster.defragment()
    };
    Ok(Damage::healed_by(healed))
}

/// Lets every sync of a process, and of all that it starts, take long.
fn slow<'a>(id: u32) -> Result<Damage<'a>> {
    let mut tracing = Command::new("strace");
    tracing.args(["--follow-forks", "--attach", &id.to_string(), "--output", "/dev/null"]);
    tracing.args(["--quiet=all", "--trace", "fsync,fdatasync,syncfs,sync_file_range"]);
    tracing.args(["--inject", &format!("fsync,fdatasync,syncfs:delay_exit={SLOW_SYNC}")]);
    let log = std::path::Path::new("/dev/null");
    let mut tracer =
        Program::start(&mut tracing, log).context("run scripts/install-test-deps.sh")?;
    until("the process is traced", JUMP_MAX, || {
        if tracer.has_ended()? {
            bail!("strace cannot trace it");
        }
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        Ok(tracer.is_some_and(|tracer| tracer.trim() != "0"))
    })?;
    // Killed, for who is told to end waits for processes that are just being started, and those wait for it.
    Ok(Damage::healed_by(move || {
        drop(tracer);
        Ok(())
    }))
}
