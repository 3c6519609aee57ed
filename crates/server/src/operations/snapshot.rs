//! All that operators see at a glance, read off at one moment.

use super::{Operations, routes};
use std::time::Duration;
use tidewire_core::cache::REPLAY;
use tidewire_core::port::Totals;
use tidewire_core::queue::{Census, Crowd};
use tidewire_core::task::Priority;
use tidewire_core::{Money, TenantId, Timestamp};
use tidewire_edge::identity::KnownTenant;
use tidewire_proto::operations as body;

/// Tenants that are listed: those with most waiting, and those that have spent most. More than one page shows.
const TENANTS: usize = 50;

/// Leases that are listed, oldest first: what hangs is among them.
const LEASES: usize = 100;

/// Everything, as it is now.
pub(super) async fn snapshot(operations: &Operations) -> body::Operations {
    let sums = operations.spending.sums(&*operations.engines.ledger(), &*operations.clock).await;
    let (live, now) = (&operations.metrics.live, operations.clock.now());
    let stats = operations.engines.cache().stats();
    let (disk_failures, _) = operations.engines.disk_failures_and_recoveries();
    body::Operations {
        server: server(operations, now),
        latencies: live.latencies(),
        queue: queue(operations, now),
        workers: vec![body::WorkerView {
            name: operations.running.worker().to_owned(),
            running: operations.running.count() as u64,
            slots: operations.running.slots() as u64,
            draining: operations.running.drains(),
        }],
        leases: leases(operations),
        routes: routes::listed(operations),
        deployments: deployments(operations),
        tenants: tenants(operations, |tenant| sums.of(tenant)),
        cache: body::CacheSection {
            entries: stats.entries,
            bytes: stats.bytes,
            saved_today_usd: sums.saved_today().dollars(),
            ..live.answers()
        },
        refusals: body::Refusals { disk_failures, ..live.refusals() },
        history: live.history(),
    }
}

fn server(operations: &Operations, now: Timestamp) -> body::ServerSection {
    let (live, engines) = (&operations.metrics.live, &operations.engines);
    let (transient_bytes, transient_bound_bytes) = engines.transient_bytes();
    let balance = engines.ledger().balance();
    let held = balance.settled.cost.plus(balance.released.cost).plus(balance.outstanding.cost);
    let all = balance.reserved.cost.plus(balance.overage.cost);
    let rates = live.rates();
    body::ServerSection {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now.as_millis(),
        started_at: operations.started.0.as_millis(),
        engine: engines.name().to_owned(),
        durability: engines.durability().to_owned(),
        takes_changes: !operations.draining.is_cancelled() && engines.health().is_ok(),
        connections: live.connections(),
        data_free_bytes: engines.data_free_bytes(),
        transient_bytes: transient_bytes as u64,
        transient_bound_bytes: transient_bound_bytes as u64,
        commits_per_second: rates.map(|rates| rates.commits_per_second),
        fsync_p99_ms: live.fsync().map(|fsync| fsync.p99_ms),
        ledger_imbalance_usd: all.minus(held).dollars() - held.minus(all).dollars(),
        tokens_per_second: rates.map(|rates| rates.tokens_per_second),
    }
}

fn queue(operations: &Operations, now: Timestamp) -> body::QueueSection {
    let census = operations.standing.census(&operations.queue, &*operations.clock);
    let Census { all, by_priority, by_tenant, by_capability } = &*census;
    let age = |crowd: &Crowd| crowd.oldest.map(|oldest| millis(now.since(oldest)));
    let mut tenants: Vec<(TenantId, Crowd)> = by_tenant.iter().map(|(tenant, crowd)| (*tenant, *crowd)).collect();
    tenants.sort_by_key(|(tenant, crowd)| (std::cmp::Reverse((crowd.waiting, crowd.running)), *tenant));
    let tenants = tenants.iter().take(TENANTS).map(|(tenant, crowd)| body::TenantLine {
        tenant: operations.identity.tenant_name(*tenant),
        waiting: crowd.waiting as u64,
        running: crowd.running as u64,
        oldest_ms: age(crowd),
    });
    let priorities = Priority::ALL.into_iter().filter_map(|priority| {
        let crowd = by_priority.get(&priority).filter(|crowd| crowd.waiting > 0)?;
        let priority = priority.name().to_owned();
        Some(body::PriorityView { priority, waiting: crowd.waiting as u64, oldest_ms: age(crowd) })
    });
    // Whoever takes an answer that is kept or on its way waits for no route.
    let routes = by_capability.iter().filter(|(name, crowd)| crowd.waiting > 0 && &***name != REPLAY);
    body::QueueSection {
        waiting: all.waiting as u64,
        running: operations.running.count() as u64,
        oldest_ms: age(all),
        by_priority: priorities.collect(),
        by_tenant: tenants.collect(),
        by_route: routes
            .map(|(name, crowd)| body::RouteLine { route: name.to_string(), waiting: crowd.waiting as u64 })
            .collect(),
    }
}

fn leases(operations: &Operations) -> Vec<body::LeaseView> {
    let leases = operations.running.leases(LEASES).into_iter();
    let view = |held: tidewire_worker::LeaseView| body::LeaseView {
        task: held.lease.task.task.to_string(),
        tenant: operations.identity.tenant_name(held.lease.task.tenant),
        model: held.model.to_string(),
        deployment: held.deployment.map(|name| name.to_string()),
        attempt: held.lease.attempt,
        since: held.since.as_millis(),
        worker: held.lease.worker.0.to_string(),
    };
    leases.map(view).collect()
}

fn deployments(operations: &Operations) -> Vec<body::StripView> {
    let deployments = &operations.reloader.deployments;
    let (plan, now) = (deployments.catalog.plan(), operations.clock.monotonic());
    let (started, monotonic) = operations.started;
    // By one pair of readings, so that a minute's moment is the same whenever it is told.
    let at = |began: Duration| match began.checked_sub(monotonic) {
        Some(later) => started.plus(later),
        None => started.minus(monotonic.saturating_sub(began)),
    };
    let strip = |name| deployments.fleet.last_hour(name, now).into_iter();
    let minute = |minute: tidewire_core::route::Minute| body::MinuteView {
        at: at(minute.began).as_millis(),
        ok: minute.ok,
        failed: minute.failed,
        breaker: minute.breaker.name().to_owned(),
    };
    let all = plan.deployments().iter();
    all.map(|one| body::StripView { name: one.name.to_string(), strip: strip(&one.name).map(minute).collect() })
        .collect()
}

fn tenants(operations: &Operations, spent: impl Fn(TenantId) -> (Totals, Money)) -> Vec<body::SpendingView> {
    let reserved = operations.engines.reserved();
    let known = operations.identity.known_tenants().into_iter();
    let mut all: Vec<(KnownTenant, Totals, Money)> = known
        .map(|tenant| {
            let (today, month) = spent(tenant.id);
            (tenant, today, month)
        })
        .collect();
    all.sort_by(|(a, _, a_month), (b, _, b_month)| b_month.cmp(a_month).then_with(|| a.name.cmp(&b.name)));
    let view = |(tenant, today, month): (KnownTenant, Totals, Money)| body::SpendingView {
        name: tenant.name.to_string(),
        today_usd: today.usage.cost.dollars(),
        month_usd: month.dollars(),
        reserved_usd: reserved.get(&tenant.id).copied().unwrap_or_default().dollars(),
        day_limit_usd: tenant.limits.cost_per_day.map(Money::dollars),
        month_limit_usd: tenant.limits.cost_per_month.map(Money::dollars),
        tasks_today: today.tasks,
        suspended: tenant.suspended,
    };
    all.into_iter().take(TENANTS).map(view).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
