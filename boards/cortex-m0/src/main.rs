//! Runs the model of `GATELET_MODEL` on the samples of standard input.
#![no_std]
#![no_main]

gatelet::include_model!(struct Net, env!("GATELET_MODEL"));
gatelet_qemu::firmware!(Net);
