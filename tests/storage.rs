//! Updates over the air on a flash whose power fails: at every operation, torn in every way, and
//! twice. The device comes back with the old model or the new one, whole.

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use common::{Random, cells, classifier};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use gatelet::blob::format::extra;
use gatelet::storage::{Boot, MappedFlash, Slots, UpdateError};
use gatelet::{Error, Model, Packing, WeightType};
use gatelet_cli::calibrate::calibrate;
use gatelet_cli::graph::Output;
use gatelet_cli::host::Blob;
use gatelet_cli::pack::{Notes, pack};
use gatelet_cli::quantize::quantize;
use gatelet_cli::{self_test, sign};
use indicatif::ProgressBar;
use rayon::prelude::*;

const WORD: usize = 4;
const PAGE: usize = 128;
const SLOT: usize = 10 * PAGE;
/// Bytes of a packet of the update.
const CHUNK: usize = 57;

/// What an operation leaves behind when the power fails in its middle.
#[derive(Clone, Copy, Debug)]
enum Torn {
    /// Nothing was changed yet.
    Before,
    /// Some bits were changed.
    Within,
    /// All were.
    After,
}

const TORN: [Torn; 3] = [Torn::Before, Torn::Within, Torn::After];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PowerLost;

impl NorFlashError for PowerLost {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// The power that two partitions share: operations until it fails.
struct Power {
    left: Option<u32>,
    torn: Torn,
    used: u32,
    random: Random,
}

impl Power {
    fn lasting(left: Option<u32>, torn: Torn) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { left, torn, used: 0, random: Random(7) }))
    }

    /// Turns `old` into `new`, or fails on the way.
    fn change(&mut self, old: &mut [u8], new: &[u8]) -> Result<(), PowerLost> {
        self.used += 1;
        match &mut self.left {
            None => {}
            Some(0) => return Err(PowerLost),
            Some(1) => {
                self.left = Some(0);
                for (old, new) in old.iter_mut().zip(new) {
                    let mask = match self.torn {
                        Torn::Before => 0,
                        Torn::Within => self.random.next() as u8,
                        Torn::After => 0xff,
                    };
                    *old = (*old & !mask) | (new & mask);
                }
                return Err(PowerLost);
            }
            Some(left) => *left -= 1,
        }
        old.copy_from_slice(new);
        Ok(())
    }
}

/// A partition: every word written and every page erased is an operation.
#[derive(Clone)]
struct Flash {
    words: Vec<u128>,
    erased: [u32; SLOT / PAGE],
    power: Rc<RefCell<Power>>,
}

impl ErrorType for Flash {
    type Error = PowerLost;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), PowerLost> {
        bytes.copy_from_slice(&self.bytes()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        SLOT
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), PowerLost> {
        let (from, to) = (from as usize, to as usize);
        assert!(from < to && from.is_multiple_of(PAGE) && to.is_multiple_of(PAGE));
        for page in from / PAGE..to / PAGE {
            self.erased[page] += 1;
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
            let page = &mut bytes[page * PAGE..][..PAGE];
            self.power.borrow_mut().change(page, &[0xff; PAGE])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, new: &[u8]) -> Result<(), PowerLost> {
        let offset = offset as usize;
        assert!(offset.is_multiple_of(WORD) && new.len().is_multiple_of(WORD));
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let old = &mut bytes[offset..][..new.len()];
        for (old, new) in old.chunks_mut(WORD).zip(new.chunks(WORD)) {
            let power = &mut self.power.borrow_mut();
            assert!(old.iter().all(|byte| *byte == 0xff), "a word is written once an erase");
            power.change(old, new)?;
        }
        Ok(())
    }
}

impl MappedFlash for Flash {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}

/// Both partitions of a device. What is not erased holds anything.
#[derive(Clone)]
struct Chip([Flash; 2]);

impl Chip {
    fn new() -> Self {
        let (mut random, power) = (Random(3), Power::lasting(None, Torn::After));
        let mut flash = || Flash {
            words: (0..SLOT / 8)
                .map(|_| random.next())
                .collect::<Vec<_>>()
                .chunks(2)
                .map(|pair| u128::from(pair[0]) << 64 | u128::from(pair[1]))
                .collect(),
            erased: [0; SLOT / PAGE],
            power: power.clone(),
        };
        Self([flash(), flash()])
    }

    /// A chip on which `blob` was installed and runs.
    fn with(blob: &Blob) -> Self {
        let mut chip = Self::new();
        assert_eq!(chip.update(blob), Ok(Boot::Updated));
        chip
    }

    /// The same content, and power that fails at its operation `left`.
    fn powered(&self, left: Option<u32>, torn: Torn) -> Self {
        let power = Power::lasting(left, torn);
        Self(self.0.clone().map(|flash| Flash { power: power.clone(), ..flash }))
    }

    fn boot(&mut self, memory: &mut [u32]) -> Result<(Slots<&mut Flash>, Boot), PowerLost> {
        Slots::boot(self.0.each_mut(), |bytes| Model::from_bytes(bytes), memory)
    }

    /// Boots, takes an update, and switches to it.
    fn update(&mut self, blob: &Blob) -> Result<Boot, PowerLost> {
        let mut memory = [0; MEMORY];
        let (mut slots, _) = self.boot(&mut memory)?;
        let (_, mut update) = slots.update()?;
        for chunk in blob.bytes().chunks(CHUNK) {
            update.write(chunk).map_err(flash_error)?;
        }
        update.finish().map_err(flash_error)?;
        slots.switch(&mut memory)
    }

    /// Boots for good and says which model runs, by the name in its metadata.
    fn running(&self) -> Option<String> {
        let mut chip = self.powered(None, Torn::After);
        let (slots, _) = chip.boot(&mut [0; MEMORY]).unwrap();
        slots.model().map(|model| model.metadata().to_owned())
    }

    /// Operations used so far, and erasures of each page.
    fn used(&self) -> (u32, Vec<u32>) {
        let erased = self.0.each_ref().map(|flash| flash.erased).concat();
        (self.0[0].power.borrow().used, erased)
    }
}

fn flash_error(error: UpdateError<PowerLost>) -> PowerLost {
    match error {
        UpdateError::Flash(error) => error,
        error => panic!("{error:?}"),
    }
}

/// Words for any model here.
const MEMORY: usize = 64;

/// A small GRU named `name`. If it is `broken`, it carries another answer than its own.
fn model(name: &str, seed: u64, broken: bool) -> Blob {
    let mut random = Random(seed);
    let layers = vec![cells(3, 4, &mut random).swap_remove(2)];
    let graph = classifier(layers, 2, Output::Last, &mut random);
    let x = random.sequences(2, 5, 3);
    let quantized =
        quantize(&graph, &calibrate(&graph, &x, &ProgressBar::hidden()), WeightType::Int8).unwrap();
    let mut notes = Notes { metadata: vec![("name".into(), name.into())], ..Notes::default() };
    let blob = Blob::new(&pack(&quantized, Packing::Plain, &notes).unwrap());
    let mut section = self_test::section(&blob.model().unwrap(), &x);
    if broken {
        *section.last_mut().unwrap() ^= 1;
    }
    notes.extras.insert(extra::SELF_TEST, section);
    Blob::new(&pack(&quantized, Packing::Plain, &notes).unwrap())
}

fn old() -> Blob {
    model("old", 1, false)
}

fn new() -> Blob {
    model("new", 2, false)
}

/// Every way in which the power can fail once in `life`: what is left of `chip`.
fn cuts(chip: &Chip, life: impl Fn(&mut Chip) -> Result<Boot, PowerLost>) -> Vec<Chip> {
    let mut whole = chip.powered(None, Torn::After);
    life(&mut whole).unwrap();
    let operations = whole.used().0;
    let cut = |left, torn| {
        let mut chip = chip.powered(Some(left), torn);
        assert_eq!(life(&mut chip), Err(PowerLost));
        chip
    };
    (1..=operations).flat_map(|left| TORN.map(|torn| cut(left, torn))).collect()
}

#[test]
fn an_update_runs_and_survives_the_next_boot() {
    let mut chip = Chip::with(&old());
    assert_eq!(chip.running().as_deref(), Some("name: old"));
    assert_eq!(chip.update(&new()), Ok(Boot::Updated));
    assert_eq!(chip.running().as_deref(), Some("name: new"));
    let mut memory = [0; MEMORY];
    let (slots, boot) = chip.boot(&mut memory).unwrap();
    assert_eq!(boot, Boot::Confirmed);
    let model = slots.model().unwrap();
    assert_eq!(model.self_test(&mut memory), Ok(()));
}

#[test]
fn nothing_runs_on_an_unused_chip() {
    let mut chip = Chip::new();
    let (slots, boot) = chip.boot(&mut [0; MEMORY]).unwrap();
    assert_eq!(boot, Boot::Empty);
    assert!(slots.model().is_none());
}

/// Power cut at every operation of an update, torn in every way.
#[test]
fn one_power_cut_leaves_the_old_or_the_new_model() {
    let chip = Chip::with(&old());
    let mut found = BTreeMap::new();
    for mut cut in cuts(&chip, |chip| chip.update(&new())) {
        let running = cut.running().expect("a model that runs");
        assert!(["name: old", "name: new"].contains(&&*running), "{running}");
        *found.entry(running).or_insert(0) += 1;
        // And the update can be had after all.
        cut = cut.powered(None, Torn::After);
        assert_eq!(cut.update(&new()), Ok(Boot::Updated));
        assert_eq!(cut.running().as_deref(), Some("name: new"));
    }
    println!("one cut: {found:?}");
    assert_eq!(found.len(), 2);
}

/// Every pair of cuts: in an update, and in the boot and the second attempt that follow.
#[test]
fn two_power_cuts_leave_the_old_or_the_new_model() {
    let (old, new) = (old(), new());
    let second = [old.bytes(), new.bytes()].map(<[u8]>::to_vec);
    let bytes = |chip: &Chip| chip.0.each_ref().map(|flash| flash.words.clone());
    let first = cuts(&Chip::with(&old), |chip| chip.update(&new));
    let content: Vec<_> = first.iter().map(bytes).collect();
    let found = content.into_par_iter().map(|words| {
        let [_, new] = &second;
        let new = Blob::new(new);
        let mut chip = Chip::new();
        for (flash, words) in chip.0.iter_mut().zip(words) {
            flash.words = words;
        }
        let mut found = BTreeMap::new();
        for cut in cuts(&chip, |chip| chip.update(&new)) {
            let running = cut.running().expect("a model that runs");
            assert!(["name: old", "name: new"].contains(&&*running), "{running}");
            *found.entry(running).or_insert(0) += 1;
        }
        found
    });
    let found = found.reduce(BTreeMap::new, |mut all, found| {
        found.into_iter().for_each(|(name, count)| *all.entry(name).or_insert(0) += count);
        all
    });
    println!("two cuts: {found:?}");
    assert_eq!(found.len(), 2);
}

/// Once the new model is confirmed, no cut brings the old one back.
#[test]
fn cuts_after_an_update_leave_the_new_model() {
    let mut chip = Chip::with(&old());
    chip.update(&new()).unwrap();
    for cut in cuts(&chip, |chip| chip.update(&old())) {
        assert!(cut.running().is_some());
    }
    let (slots, boot) = chip.boot(&mut [0; MEMORY]).unwrap();
    assert_eq!(boot, Boot::Confirmed);
    assert_eq!(slots.model().unwrap().metadata(), "name: new");
}

/// A model that fails its self-test never runs, whatever the power does.
#[test]
fn a_model_that_fails_its_self_test_is_rolled_back() {
    let broken = model("broken", 2, true);
    let chip = Chip::with(&old());
    let mut whole = chip.clone();
    assert_eq!(whole.update(&broken), Ok(Boot::RolledBack(Error::SelfTest)));
    assert_eq!(whole.running().as_deref(), Some("name: old"));
    for cut in cuts(&chip, |chip| chip.update(&broken)) {
        assert_eq!(cut.running().as_deref(), Some("name: old"));
        for again in cuts(&cut, |chip| chip.boot(&mut [0; MEMORY]).map(|(_, boot)| boot)) {
            assert_eq!(again.running().as_deref(), Some("name: old"));
        }
    }
    // Without one before it, nothing runs.
    let mut chip = Chip::new();
    assert_eq!(chip.update(&broken), Ok(Boot::RolledBack(Error::SelfTest)));
    assert_eq!(chip.running(), None);
}

#[test]
fn a_model_that_decays_gives_way_to_the_one_before() {
    let mut chip = Chip::with(&old());
    chip.update(&new()).unwrap();
    let slot = chip.0.iter_mut().find(|f| f.bytes().starts_with(new().bytes())).unwrap();
    bytemuck::cast_slice_mut::<_, u8>(&mut slot.words)[100] ^= 4;
    assert_eq!(chip.running().as_deref(), Some("name: old"));
}

#[test]
fn what_is_no_model_does_not_fit_or_is_older_is_refused() {
    let mut chip = Chip::with(&old());
    let mut memory = [0; MEMORY];
    let mut refusal = |bytes: &[u8]| {
        let (mut slots, _) = chip.boot(&mut memory).unwrap();
        let (running, mut update) = slots.update().unwrap();
        assert!(running.is_some());
        update.write(bytes).and_then(|()| update.finish()).unwrap_err()
    };
    assert!(matches!(refusal(&[0; 100]), UpdateError::Model(Error::Magic)));
    assert!(matches!(refusal(&[]), UpdateError::Model(Error::Length { .. })));
    assert_eq!(refusal(&[0; SLOT]), UpdateError::Full { capacity: SLOT - PAGE });
    assert_eq!(chip.running().as_deref(), Some("name: old"));

    let folder = tempfile::tempdir().unwrap();
    let [private, public] = ["key", "pub"].map(|name| folder.path().join(name));
    sign::keygen(&private, &public).unwrap();
    let key = sign::private_key(&private).unwrap();
    let signed = |blob: &Blob, version| Blob::new(&sign::sign(blob, &key, version).unwrap());
    let mut chip = Chip::with(&signed(&old(), 3));
    let mut refusal = |blob: &Blob| {
        let (mut slots, _) = chip.boot(&mut memory).unwrap();
        let mut update = slots.update().unwrap().1;
        update.write(blob.bytes()).and_then(|()| update.finish()).err()
    };
    let older = UpdateError::Model(Error::Downgrade { least: 3, found: 2 });
    assert_eq!(refusal(&signed(&new(), 2)), Some(older));
    assert_eq!(refusal(&new()), Some(UpdateError::Model(Error::Unsigned)));
    assert_eq!(refusal(&signed(&new(), 3)), None);
}

/// An update erases the pages it writes, once, and the log's; two slots share the wear.
#[test]
fn wear_is_one_erasure_of_each_page_an_update() {
    let mut chip = Chip::new();
    let updates = 100;
    for k in 0..updates {
        let blob = if k % 2 == 0 { old() } else { new() };
        assert_eq!(chip.update(&blob), Ok(Boot::Updated));
    }
    let (operations, erased) = chip.used();
    let pages = new().bytes().len().div_ceil(PAGE);
    println!("{updates} updates of {pages} pages: {operations} operations, erasures {erased:?}");
    for slot in erased.chunks(SLOT / PAGE) {
        let (log, blob) = slot.split_last().unwrap();
        assert_eq!(*log, updates / 2);
        assert!(blob[..pages].iter().all(|n| *n == updates / 2));
        assert!(blob[pages..].iter().all(|n| *n == 0));
    }
}

/// The demonstration on a board: the digits' LSTM answers while the GRU that replaces it arrives.
#[test]
fn a_board_updates_its_model_while_it_runs() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--release", "--locked", "--target-dir", "target"])
        .current_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("boards/update"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("the old model says").count(), 20, "{said}");
    assert!(said.contains("the new model says") && said.contains("[26, 21]"), "{said}");
}
