//! Hears the samples of standard input with the model of `GATELET_MODEL`.
#![no_std]
#![no_main]

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));
gatelet_qemu::listener!(Net);
