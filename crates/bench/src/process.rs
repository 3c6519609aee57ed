//! What a process used, as Linux tells it in /proc. Elsewhere there is nothing to tell.

use std::fs;
use std::net::IpAddr;
use tidewire_client::Endpoint;

/// What a process had used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) rss_peak_bytes: u64,
}

/// This process.
pub(crate) fn own() -> Option<Usage> {
    usage(std::process::id())
}

pub(crate) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu_seconds: cpu_seconds(&stat)?,
        rss_bytes: kilobytes(&status, "VmRSS:")? * 1024,
        rss_peak_bytes: kilobytes(&status, "VmHWM:")? * 1024,
    })
}

/// What a server says of itself, under the names that Prometheus' clients agree on.
pub(crate) fn told(metrics: &str) -> Option<Usage> {
    let value = |name: &str| -> Option<f64> {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    // Bytes of memory are far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rss_bytes = value("process_resident_memory_bytes").unwrap_or(0.0) as u64;
    Some(Usage { cpu_seconds: value("process_cpu_seconds_total")?, rss_bytes, rss_peak_bytes: rss_bytes })
}

/// User and system time: fields 14 and 15 of `proc_pid_stat(5)`. The name in field 2 may hold spaces, so counting
/// begins after its parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(ticks))
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The process that listens on the endpoint's port, if the endpoint is on this machine.
pub(crate) fn listening(endpoint: &Endpoint) -> Option<u32> {
    let host = endpoint.host();
    if host != "localhost" && !host.parse().is_ok_and(|address: IpAddr| address.is_loopback()) {
        return None;
    }
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listeners(&table, endpoint.port()))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|pid| holds(*pid, &sockets))
}

/// The inodes of the sockets that listen on this port, from a table as `proc_pid_net(5)` describes it.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&suffix) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        sockets.iter().any(|socket| *socket == target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_after_a_name_with_spaces() {
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).unwrap());
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 9 1 1";
        assert!((cpu_seconds(stat).unwrap() - 300.0 / ticks).abs() < 1e-9);
    }

    #[test]
    fn a_server_tells_its_own_cpu_time() {
        let told =
            told("process_cpu_seconds 9\nprocess_cpu_seconds_total 1.5\nprocess_resident_memory_bytes 2e6\n").unwrap();
        assert!((told.cpu_seconds - 1.5).abs() < 1e-9);
        assert_eq!(told.rss_bytes, 2_000_000);
    }

    #[test]
    fn the_listener_of_a_port_is_found_and_not_its_connections() {
        let table = "  sl  local_address rem_address   st tx rx tr tm retr uid timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 4242 1\n\
            1: 0100007F:1F90 0100007F:9999 01 0:0 00:0 0 0 0 4343 1\n\
            2: 0100007F:1F91 00000000:0000 0A 0:0 00:0 0 0 0 4444 1\n";
        assert_eq!(listeners(table, 8080), ["4242"]);
    }

    #[test]
    fn this_process_finds_itself() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(listening(&endpoint), Some(std::process::id()));
        assert!(own().unwrap().rss_bytes > 0);
    }
}
