//! The operations of classic groups, one file each.
