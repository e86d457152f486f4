//! The little of HDF5 that Keras files need: groups, string attributes and
//! arrays of numbers.

use anyhow::{Context, Result, bail, ensure};
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions};

use super::{Budget, MAX_FILE, Tensor};

/// Deepest nesting of groups followed; Keras' own is under ten.
const MAX_DEPTH: usize = 32;

/// Most groups visited; links may form cycles.
const MAX_GROUPS: usize = 4096;

/// A group of an open file.
pub(super) struct Group(hdf5_reader::group::Group);

impl Group {
    /// The root group of the file in `bytes`.
    pub(super) fn open(bytes: Vec<u8>) -> Result<Self> {
        let limit = MAX_FILE as usize;
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(limit)
            .with_max_read_bytes(limit)
            .with_max_object_header_bytes(limit);
        let file = Hdf5File::from_vec_with_options(bytes, options)
            .context("it is not an HDF5 file or it is damaged")?;
        Ok(Self(file.root_group()?))
    }

    /// The group called `name`, or `None` if there is none.
    pub(super) fn group(&self, name: &str) -> Result<Option<Self>> {
        let (groups, _) = self.0.member_names()?;
        let found = groups.iter().any(|group| group == name);
        Ok(if found { Some(Self(self.0.group(name)?)) } else { None })
    }

    /// The text attribute called `name`, or `None` if there is none.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        let attributes = self.0.attributes()?;
        let attribute = attributes.iter().find(|attribute| attribute.name == name);
        let text = attribute.map(|attribute| attribute.read_string());
        text.transpose().with_context(|| format!("attribute `{name}` is not text"))
    }

    /// All arrays of floats in this group and the groups inside, named by
    /// their path from here. Integers (batch counters, random seeds) are no
    /// weights.
    pub(super) fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut walk = Walk::default();
        walk.visit(&self.0, "", 0)?;
        Ok(walk.found)
    }
}

#[derive(Default)]
struct Walk {
    budget: Budget,
    groups: usize,
    found: Vec<Tensor>,
}

impl Walk {
    fn visit(
        &mut self,
        group: &hdf5_reader::group::Group,
        prefix: &str,
        depth: usize,
    ) -> Result<()> {
        self.groups += 1;
        ensure!(
            depth < MAX_DEPTH && self.groups <= MAX_GROUPS,
            "groups are nested without end at `{prefix}`; the file is damaged"
        );
        let (groups, datasets) = group.members()?;
        for dataset in datasets {
            let name = format!("{prefix}{}", dataset.name());
            if let Datatype::FixedPoint { .. } = dataset.dtype() {
                continue;
            }
            let shape = dataset.shape().iter().map(|&d| usize::try_from(d));
            let shape = shape.collect::<Result<Vec<_>, _>>()?;
            self.budget.take(&name, &shape)?;
            let values =
                floats(&dataset).with_context(|| format!("cannot read weights `{name}`"))?;
            self.found.push(Tensor { name, shape, values });
        }
        for group in groups {
            self.visit(&group, &format!("{prefix}{}/", group.name()), depth + 1)?;
        }
        Ok(())
    }
}

fn floats(dataset: &Dataset) -> Result<Vec<f64>> {
    Ok(match dataset.dtype() {
        Datatype::FloatingPoint { size: 4, .. } => {
            dataset.read_array::<f32>()?.iter().copied().map(f64::from).collect()
        }
        Datatype::FloatingPoint { size: 8, .. } => {
            dataset.read_array::<f64>()?.iter().copied().collect()
        }
        other => bail!("its type is {other:?}; expected float32 or float64"),
    })
}
