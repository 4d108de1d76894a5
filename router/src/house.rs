//! Tools that this process runs itself.

use std::sync::Arc;

use perennial_engine::ports::{HouseTools, Order, ToolSpec};
use perennial_schema::agent::AgentSnapshot;
use perennial_schema::tool::Outcome;

use crate::exchange::Exchange;

impl Exchange {
    /// Has these tools run here from now on.
    pub fn furnish(&self, tools: Arc<dyn HouseTools>) {
        // Said by whoever starts this process, once.
        let _ = self.house.set(tools);
    }

    /// With those an agent has beside its others; of two tools with one name the others' wins.
    pub(crate) fn with_house(&self, agent: &AgentSnapshot, mut tools: Vec<ToolSpec>) -> Vec<ToolSpec> {
        let offered = self.house.get().map(|house| house.offered(agent)).unwrap_or_default();
        for tool in offered {
            if tools.iter().all(|known| known.name != tool.name) {
                tools.push(tool);
            }
        }
        tools
    }

    pub(crate) async fn run_here(&self, order: &Order) -> Outcome {
        match self.house.get() {
            Some(house) => house.run(order).await,
            None => Outcome::text("this server runs no tools itself", true),
        }
    }
}
