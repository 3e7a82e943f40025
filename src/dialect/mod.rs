//! What a message means. Pure: no I/O, no threads, no clock.
