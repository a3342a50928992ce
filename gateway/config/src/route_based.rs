//! Children of tunnel interfaces: routes choose their traffic, so selectors may be left out.

use crate::schema::Root;
use culvert_model::{AddrRange, TrafficSelector};

/// Puts everything in the place of selectors that were left out.
pub(crate) fn fill(root: &mut Root) {
    for child in root.connection.iter_mut().flat_map(|connection| &mut connection.children) {
        if child.interface.is_some() {
            fill_sides(&mut child.local_ts, &mut child.remote_ts);
        }
    }
    for sa in root.manual_sa.iter_mut().filter(|sa| sa.interface.is_some()) {
        fill_sides(&mut sa.local_ts, &mut sa.remote_ts);
    }
}

/// Where one side is named, of its families only.
fn fill_sides(local: &mut Vec<TrafficSelector>, remote: &mut Vec<TrafficSelector>) {
    if local.is_empty() {
        *local = everything(remote);
    }
    if remote.is_empty() {
        *remote = everything(local);
    }
}

fn everything(beside: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let wanted = |v4| beside.is_empty() || beside.iter().any(|ts| ts.addrs.is_ipv4() == v4);
    let all = [(true, AddrRange::ANY_V4), (false, AddrRange::ANY_V6)];
    all.into_iter().filter(|(v4, _)| wanted(*v4)).map(|(_, range)| TrafficSelector::any(range)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[TrafficSelector]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_left_out_is_everything_of_the_other_sides_families() {
        let four = TrafficSelector::any("10.0.0.0/8".parse::<ipnet::IpNet>().unwrap().into());
        let (mut local, mut remote) = (vec![], vec![]);
        fill_sides(&mut local, &mut remote);
        assert_eq!((words(&local).len(), &local), (2, &remote));
        let (mut local, mut remote) = (vec![four], vec![]);
        fill_sides(&mut local, &mut remote);
        assert_eq!((local, remote), (vec![four], vec![TrafficSelector::any(AddrRange::ANY_V4)]));
        let (mut local, mut remote) = (vec![], vec![four]);
        fill_sides(&mut local, &mut remote);
        assert_eq!((local, remote), (vec![TrafficSelector::any(AddrRange::ANY_V4)], vec![four]));
    }
}
