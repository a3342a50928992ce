//! SPIs and slots for IKE's children.

use culvert_crypto::Provider;
use culvert_ike::SpiSource;
use culvert_link::Region;
use culvert_model::{SlotIndex, Spi};
use std::sync::Arc;

/// Slots of the link; an inbound SPI's low bits are its slot, the rest is random.
pub struct LinkSpis {
    region: Region,
    provider: Arc<dyn Provider>,
}

impl LinkSpis {
    pub fn new(region: Region, provider: Arc<dyn Provider>) -> Self {
        Self { region, provider }
    }
}

impl SpiSource for LinkSpis {
    fn allocate(&mut self) -> Option<(Spi, SlotIndex)> {
        let mut random = [0; 4];
        self.provider.random(&mut random).ok()?;
        let slot = self.region.claim_slot()?;
        Some((self.region.spi_for_slot(slot, u32::from_ne_bytes(random)), slot))
    }

    fn allocate_outbound(&mut self) -> Option<SlotIndex> {
        self.region.claim_slot()
    }

    fn release(&mut self, slot: SlotIndex) {
        self.region.free_slot(slot);
    }
}
