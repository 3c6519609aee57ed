//! What the ledger holds, and whether it adds up.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidewire_core::port::{Amounts, Balance};

type ByAmount = Family<[(&'static str, &'static str); 1], Gauge>;

pub(super) struct Ledger {
    reservations: Gauge,
    outstanding: ByAmount,
    imbalance: ByAmount,
}

impl Ledger {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let made =
            Self { reservations: Gauge::default(), outstanding: ByAmount::default(), imbalance: ByAmount::default() };
        registry.register("reservations", "Tasks that something is reserved for", made.reservations.clone());
        let held = "What is reserved and neither settled nor released";
        registry.register("reserved_amount", held, made.outstanding.clone());
        let imbalance = "reserved + overage - settled - released - outstanding: anything but 0 is a defect";
        registry.register("ledger_imbalance", imbalance, made.imbalance.clone());
        made
    }

    pub(super) fn set(&self, balance: &Balance) {
        self.reservations.set(clamp(balance.reservations.into()));
        for (amount, of) in AMOUNTS {
            let labels = [("amount", amount)];
            self.outstanding.get_or_create(&labels).set(clamp(of(&balance.outstanding)));
            let came = of(&balance.reserved) + of(&balance.overage);
            let went = of(&balance.settled) + of(&balance.released) + of(&balance.outstanding);
            self.imbalance.get_or_create(&labels).set(clamp(came - went));
        }
    }
}

type Of = fn(&Amounts) -> i128;

const AMOUNTS: [(&str, Of); 4] = [
    ("requests", |amounts| amounts.requests.into()),
    ("input_tokens", |amounts| amounts.input_tokens.into()),
    ("output_tokens", |amounts| amounts.output_tokens.into()),
    ("cost_nanousd", |amounts| amounts.cost.0.into()),
];

fn clamp(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(if amount < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn an_imbalance_is_told_by_its_amount_and_sign() {
        let mut registry = Registry::default();
        let ledger = Ledger::new(&mut registry);
        let amounts = |requests, output_tokens| Amounts { requests, output_tokens, ..Amounts::default() };
        let balance = Balance {
            reserved: amounts(3, 100),
            settled: amounts(1, 30),
            released: amounts(0, 20),
            outstanding: amounts(2, 60),
            reservations: 2,
            ..Balance::default()
        };
        ledger.set(&balance);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "reservations 2",
            "reserved_amount{amount=\"output_tokens\"} 60",
            "ledger_imbalance{amount=\"requests\"} 0",
            "ledger_imbalance{amount=\"output_tokens\"} -10",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
