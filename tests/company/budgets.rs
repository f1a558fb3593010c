//! P06 and P20: an account's limits hold whatever becomes of its objects and of the process.
