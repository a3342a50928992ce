//! Which cases there are.

use crate::site::Extent;
use crate::size::Size;
use crate::station::{Flow, Path, Traffic};
use culvert_model::Suite;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub extent: Extent,
    pub traffic: Traffic,
}

impl Case {
    /// What `--only` looks in.
    pub fn name(&self) -> String {
        let Self { extent, traffic } = self;
        let flow = match traffic.flow {
            Flow::Known => "known",
            Flow::First => "first",
        };
        let Extent { suite, tunnels, bypasses, .. } = extent;
        format!("{}-{suite}-{}-{tunnels}t-{}p-{flow}", traffic.path.name(), traffic.size, tunnels + bypasses + 1)
    }
}

/// The AEADs that processors are built for, the one they are not, and a cipher with an integrity algorithm, which packets of
/// a burst run through side by side.
pub fn suites() -> impl Iterator<Item = Suite> {
    let others =
        ["chacha20poly1305", "aes128-sha256"].into_iter().filter_map(|words| Suite::esp_from_words(words).ok());
    [Suite::AES128_GCM16, Suite::AES256_GCM16].into_iter().chain(others)
}

const TUNNELS: [u32; 4] = [100, 1_000, 10_000, 100_000];
const POLICIES: [u32; 3] = [100, 10_000, 100_000];
const GCM: Suite = Suite::AES128_GCM16;

/// All of them, those of one site together.
pub fn cases(all: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |suite, tunnels, bypasses, path, flow, size| {
        let extent = Extent { suite, tunnels, bypasses, workers: 1 };
        cases.push(Case { extent, traffic: Traffic { path, flow, size } });
    };
    for suite in suites() {
        for size in Size::ALL.into_iter().filter(|size| all || suite == GCM || *size != Size::CsitImix) {
            add(suite, 1, 1, Path::Seal, Flow::Known, size);
            add(suite, 1, 1, Path::Open, Flow::Known, size);
        }
        if suite == GCM {
            for size in Size::ALL {
                add(suite, 1, 1, Path::Bypass, Flow::Known, size);
            }
            for path in [Path::Seal, Path::Open, Path::Bypass] {
                add(suite, 1, 1, path, Flow::First, Size::Fixed(64));
            }
            add(suite, 1, 1, Path::BadIcv, Flow::Known, Size::Fixed(64));
            add(suite, 1, 1, Path::UnknownSpi, Flow::Known, Size::Fixed(64));
        }
    }
    for bypasses in POLICIES {
        add(GCM, 1, bypasses, Path::Bypass, Flow::Known, Size::Fixed(64));
        add(GCM, 1, bypasses, Path::Bypass, Flow::First, Size::Fixed(64));
    }
    let axis = [Size::Fixed(64), Size::Imix, Size::Fixed(1400)];
    for suite in suites().filter(|suite| all || *suite == GCM) {
        for tunnels in TUNNELS {
            for size in axis {
                add(suite, tunnels, 1, Path::Seal, Flow::Known, size);
                add(suite, tunnels, 1, Path::Open, Flow::Known, size);
            }
            add(suite, tunnels, 1, Path::Seal, Flow::First, Size::Fixed(64));
        }
    }
    cases
}
