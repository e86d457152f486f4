//! Firmware logic that knows no board.
#![no_std]
