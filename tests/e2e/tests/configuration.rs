//! The configurations that the lab writes are valid, whatever they are used for.

use culvert_e2e::{Family, Nat, Plans, Start, begin, programs};
use culvert_lab::TwoGateways;

#[test]
fn what_the_lab_writes_passes_culvert_check() {
    let Some(_turn) = begin() else { return };
    for nat in [Nat::None, Nat::SiteA] {
        let net = TwoGateways::build(nat).expect("the lab can be built");
        let mut plans = Plans::new(&net, Family::V4, Start::Trap);
        plans.connection(|connection| {
            connection.dpd_delay = Some("1s".to_owned());
            connection.rekey_time = Some("7s".to_owned());
        });
        plans.child(|child| {
            child.rekey_time = Some("4s".to_owned());
            child.dpd_action = Some(Start::Start);
            child.close_action = Some(Start::Trap);
        });
        for (name, plan) in [("a", &plans.a), ("b", &plans.b)] {
            let directory = net.lab.subdirectory(name).expect("the lab's directory is writable");
            plan.write_culvert(&directory).expect("likewise");
            let file = directory.join("culvert.toml");
            let culvert = programs().join("culvert");
            let checked = culvert_lab::run(&[&culvert.to_string_lossy(), "check", &file.to_string_lossy()]);
            if let Err(error) = checked {
                panic!("{error}\n{}", plan.culvert_toml());
            }
        }
    }
}
