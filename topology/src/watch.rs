//! Follows the topology in the store and publishes snapshots.
