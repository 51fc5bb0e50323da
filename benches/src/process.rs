//! The servers that are measured: started as children on a free port, stopped by their id.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::client::Client;

/// Clock ticks in a second, as `/proc` counts them on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a server may take to give its first answer.
const START_MAX: Duration = Duration::from_secs(120);
/// How often a server that starts is tried.
const TRY_EVERY: Duration = Duration::from_micros(200);

/// A child that answers on a port.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From start to the first answer.
    pub(crate) started_in: Duration,
}

impl Server {
    /// Starts a command and waits until `path` is answered with 200.
    pub(crate) fn start(
        mut command: Command,
        address: SocketAddr,
        path: &str,
    ) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Self { child, address, started_in: Duration::ZERO }.ready(begun, path)
    }

    /// Starts a command that takes a port by itself and prints `PORT <n>`.
    pub(crate) fn announcing(mut command: Command, path: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { child, address, started_in: Duration::ZERO };
        for line in output.lines() {
            if let Some(port) = line?.strip_prefix("PORT ") {
                server.address.set_port(port.parse()?);
                return server.ready(begun, path);
            }
        }
        bail!("{:?} named no port", command.get_program());
    }

    fn ready(mut self, begun: Instant, path: &str) -> anyhow::Result<Self> {
        loop {
            let answer = Client::connect(self.address).ok().and_then(|mut it| it.get(path).ok());
            if answer.is_some_and(|answer| answer.status == 200) {
                self.started_in = begun.elapsed();
                return Ok(self);
            }
            if begun.elapsed() > START_MAX || self.child.try_wait()?.is_some() {
                bail!("no answer at {path}");
            }
            std::thread::sleep(TRY_EVERY);
        }
    }

    /// Headwater over a repository.
    pub(crate) fn headwater(
        binary: &Path,
        repository: &Path,
        search_path: &str,
        path: &str,
    ) -> anyhow::Result<Self> {
        let text = |address| settings_text(address, repository, search_path);
        Self::configured(binary, repository, text, path)
    }

    /// Headwater with the repository `main` in its data directory.
    pub(crate) fn hosted(
        binary: &Path,
        data: &Path,
        search_path: &str,
        path: &str,
    ) -> anyhow::Result<Self> {
        let text = |address| {
            format!(
                "listen = \"{address}\"\ndata = {data:?}\n\n[[source]]\nuri = \"hosted:main\"\nsearch_paths = [{search_path:?}]\n"
            )
        };
        Self::configured(binary, data, text, path)
    }

    /// Headwater with the settings of an address, which lie beside a path while it starts.
    pub(crate) fn configured(
        binary: &Path,
        beside: &Path,
        text: impl FnOnce(SocketAddr) -> String,
        path: &str,
    ) -> anyhow::Result<Self> {
        let address = free_address()?;
        let settings = beside.with_extension(format!("{}.toml", address.port()));
        fs::write(&settings, text(address))?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(&settings).env("HEADWATER_LOG", "warn");
        // A variable, because earlier versions reject a setting that they do not know.
        command.env("HEADWATER_ROLLOUT_DEFAULT", "off");
        let server = Self::start(command, address, path);
        fs::remove_file(settings)?;
        server
    }

    /// Headwater over a repository, with what it writes into its log.
    pub(crate) fn talking(
        binary: &Path,
        repository: &Path,
        search_path: &str,
        path: &str,
    ) -> anyhow::Result<(Self, ChildStderr)> {
        let address = free_address()?;
        let settings = repository.with_extension(format!("{}.toml", address.port()));
        fs::write(&settings, settings_text(address, repository, search_path))?;
        let mut command = Command::new(binary);
        command.args(["serve", "--config"]).arg(&settings).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let log = child.stderr.take().context("no log")?;
        let server =
            Self { child, address, started_in: Duration::ZERO }.ready(Instant::now(), path);
        fs::remove_file(settings)?;
        Ok((server?, log))
    }

    /// Where a child is told what to do, once.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// nginx with these locations, tuned as one would for small static files.
    pub(crate) fn nginx(work: &Path, locations: &str, path: &str) -> anyhow::Result<Self> {
        let address = free_address()?;
        let directory = work.join("nginx");
        fs::create_dir_all(&directory)?;
        let configuration = directory.join(format!("{}.conf", address.port()));
        let text = format!(
            "daemon off; worker_processes 2; pid {directory}/{port}.pid; error_log /dev/null crit;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
               access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 65;\n\
               keepalive_requests 100000000; open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;\n\
               client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n\
               fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;\n\
               scgi_temp_path {directory}/scgi;\n\
               server {{ listen {address} reuseport backlog=4096; default_type application/json;\n\
               root {directory}; {locations} }}\n\
             }}\n",
            directory = directory.display(),
            port = address.port(),
        );
        fs::write(&configuration, text)?;
        let program =
            if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
        let mut command = Command::new(program);
        command.arg("-p").arg(&directory).arg("-c").arg(&configuration);
        let server = Self::start(command, address, path);
        fs::remove_file(configuration)?;
        server
    }

    /// Seconds of processor time that the server has used, its children included.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let ticks: Result<Vec<f64>, _> = self.ids()?.into_iter().map(cpu_ticks).collect();
        Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// The same from the scheduler's own count, which is exact.
    pub(crate) fn busy_seconds(&self) -> anyhow::Result<f64> {
        self.ids()?.into_iter().map(busy_seconds).sum()
    }

    /// Resident memory in bytes, children included.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<f64> {
        let mut bytes = 0.0;
        for id in self.ids()? {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line =
                status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
            let kib: f64 = line.split_whitespace().nth(1).context("no size")?.parse()?;
            bytes += kib * 1024.0;
        }
        Ok(bytes)
    }

    fn ids(&self) -> anyhow::Result<Vec<u32>> {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let children: Result<Vec<u32>, _> = children.split_whitespace().map(str::parse).collect();
        Ok(std::iter::once(id).chain(children?).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM and not KILL: nginx has workers to take along.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn settings_text(address: SocketAddr, repository: &Path, search_path: &str) -> String {
    format!(
        "listen = \"{address}\"\n\n[[source]]\nuri = {repository:?}\nsearch_paths = [{search_path:?}]\n"
    )
}

/// utime and stime, fields 14 and 15; the name in parentheses before them may hold spaces.
fn cpu_ticks(id: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let ticks: Result<Vec<f64>, _> = fields.split(' ').skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum())
}

/// Seconds of processor time that the threads of a process have used, by the scheduler's count.
pub(crate) fn busy_seconds(id: u32) -> anyhow::Result<f64> {
    let mut nanos = 0.0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread that ended meanwhile did next to nothing.
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        let used = text.split_whitespace().next().and_then(|used| used.parse::<f64>().ok());
        nanos += used.unwrap_or(0.0);
    }
    Ok(nanos / 1e9)
}

/// Seconds of processor time of the children that have ended, and of theirs: cutime and cstime.
pub(crate) fn ended_children_seconds() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("no name")?;
    let ticks: Result<Vec<f64>, _> = fields.split(' ').skip(13).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// A port that nobody listens on just now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Runs a command to its end and gives its time.
pub(crate) fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if !status.success() {
        bail!("{:?} failed", command.get_program());
    }
    Ok(begun.elapsed())
}
