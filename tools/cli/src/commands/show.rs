//! Numbers as people read them.

pub(crate) use gatelet_cli::terminal::thousands;

/// The name of a number format, as the command line knows it.
pub(crate) fn weights(weights: gatelet::WeightType) -> String {
    format!("{weights:?}").to_lowercase()
}
