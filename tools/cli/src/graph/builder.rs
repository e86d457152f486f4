//! Stacks layers as importers find them.

use anyhow::{Result, bail, ensure};

use super::{Activation, Affine, Dense, Direction, Graph, Layer, Matrix, Op, Output};

/// Stacks layers, folding normalizations and activations into them exactly.
pub struct GraphBuilder {
    width: usize,
    layers: Vec<Layer>,
    /// Layers of the encoder.
    encoder: usize,
    /// On its way into a neighbouring layer.
    pending: Option<Pending>,
    /// What the layers of the last stage are given, and what was folded into them.
    given: usize,
    folded: Option<Pending>,
    notes: Vec<String>,
}

/// A scaling on its way, of the sum of `copies` runs of numbers, one behind the other.
#[derive(Clone)]
struct Pending {
    name: String,
    affine: Affine,
    copies: usize,
}

impl GraphBuilder {
    /// An empty stack over `inputs` features.
    pub fn new(inputs: usize) -> Self {
        Self {
            width: inputs,
            layers: Vec::new(),
            encoder: 0,
            pending: None,
            given: inputs,
            folded: None,
            notes: Vec::new(),
        }
    }

    /// Values the stack gives so far.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Makes what the stack holds the encoder: what follows is the decoder, over `inputs` features.
    ///
    /// # Errors
    /// If there is no layer, or something waits for the next one.
    pub fn decoder(&mut self, inputs: usize) -> Result<()> {
        ensure!(
            !self.layers.is_empty() && self.pending.is_none(),
            "the encoder has no layers, or ends in a scaling"
        );
        self.encoder = self.layers.len();
        self.width = inputs;
        Ok(())
    }

    /// Adds a layer.
    ///
    /// # Errors
    /// If its shapes contradict each other or the layer before it, a weight is
    /// not finite, or it follows a softmax.
    pub fn layer(&mut self, name: impl Into<String>, op: Op) -> Result<()> {
        self.directed(name, op, Direction::Forward)
    }

    /// Adds a layer that goes through the sequence in this direction.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn directed(
        &mut self,
        name: impl Into<String>,
        op: Op,
        direction: Direction,
    ) -> Result<()> {
        let mut layer = Layer { name: name.into(), op, direction, beside: false };
        layer.validate(self.width)?;
        if let Some(Layer { name, op: Op::Dense(Dense { activation, .. }), .. }) =
            self.layers.last()
            && *activation == Activation::Softmax
        {
            bail!(
                "layer `{name}` is a softmax inside the network, before `{}`; \
                 gatelet takes a softmax only at the end",
                layer.name
            );
        }
        ensure!(
            !matches!(layer.op, Op::Embedding(_)) || self.layers.len() == self.encoder,
            "layer `{}` (Embedding) takes tokens, so it must be the first",
            layer.name
        );
        self.settle();
        if matches!(layer.op, Op::LayerNorm(_)) && (self.pending.is_some() || self.needs_head()) {
            // Nothing can be folded into it, and it compares features in one scale.
            self.identity(format!("{} (input)", layer.name), Activation::Linear)?;
        }
        self.given = self.width;
        self.folded = self.pending.take();
        self.fold(&mut layer)?;
        self.width = layer.units();
        self.layers.push(layer);
        Ok(())
    }

    /// Adds a layer beside the last one: it takes the same input, and its output follows that one's.
    ///
    /// # Errors
    /// As [`layer`](Self::layer); and if one of them is not recurrent.
    pub fn beside(&mut self, name: impl Into<String>, op: Op, direction: Direction) -> Result<()> {
        let mut layer = Layer { name: name.into(), op, direction, beside: true };
        layer.validate(self.given)?;
        ensure!(
            self.pending.is_none()
                && layer.is_recurrent()
                && self.layers.last().is_some_and(Layer::is_recurrent),
            "layer `{}` stands beside another; gatelet takes recurrent layers beside each other",
            layer.name
        );
        self.fold(&mut layer)?;
        self.width += layer.units();
        self.layers.push(layer);
        Ok(())
    }

    /// Adds up the outputs of the last `copies` layers, beside each other, times `factor`: folded
    /// into what follows.
    ///
    /// # Errors
    /// If they differ in size, or are not all that is there.
    pub fn add_up(&mut self, name: impl Into<String>, copies: usize, factor: f64) -> Result<()> {
        let name = name.into();
        let mut last = self.layers.iter().rev().take(copies);
        ensure!(
            self.pending.is_none() && last.all(|l| l.units() * copies == self.width),
            "layer `{name}` adds outputs of different sizes"
        );
        self.width /= copies;
        let affine = Affine { scale: vec![factor; self.width], offset: vec![0.0; self.width] };
        self.pending = Some(Pending { name, affine, copies });
        Ok(())
    }

    /// Folds what precedes the last stage into a layer of it.
    fn fold(&self, layer: &mut Layer) -> Result<()> {
        let Some(Pending { name, affine, copies }) = &self.folded else { return Ok(()) };
        ensure!(
            layer.op.fold(affine),
            "layer `{name}` changes the tokens that `{}` takes; remove it",
            layer.name
        );
        if let Some(weights) = layer.op.input_mut() {
            weights.repeat_columns(*copies);
        }
        Ok(())
    }

    /// Applies an activation that stands alone: fused into a linear dense
    /// layer right before it, else as a dense layer with identity weights.
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    pub fn activation(&mut self, name: impl Into<String>, activation: Activation) -> Result<()> {
        if activation == Activation::Linear {
            return Ok(());
        }
        self.settle();
        if let (None, Some(dense)) = (&self.pending, linear_end(&mut self.layers)) {
            dense.activation = activation;
            return Ok(());
        }
        self.identity(name, activation)
    }

    /// Applies `scale[k] * x[k] + offset[k]`: folded into a linear dense layer
    /// right before it, else into the layer after it; at the end it says what
    /// the answers mean.
    ///
    /// # Errors
    /// If it does not fit the width, or a number is not finite.
    pub fn affine(
        &mut self,
        name: impl Into<String>,
        scale: Vec<f64>,
        offset: Vec<f64>,
    ) -> Result<()> {
        let name = name.into();
        ensure!(
            scale.len() == self.width && offset.len() == self.width,
            "layer `{name}` normalizes {} features but is given {}",
            scale.len(),
            self.width
        );
        ensure!(
            scale.iter().chain(&offset).all(|v| v.is_finite()),
            "layer `{name}` has a mean, variance or factor that is NaN or infinite"
        );
        let affine = Affine { scale, offset };
        self.pending = Some(match self.pending.take() {
            Some(before) => Pending { affine: before.affine.then(&affine), ..before },
            None => Pending { name, affine, copies: 1 },
        });
        Ok(())
    }

    /// Something the user should know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The finished graph.
    ///
    /// # Errors
    /// If there is no layer.
    pub fn finish(mut self, output: Output) -> Result<Graph> {
        let mut answers = None;
        if let Some(pending) = self.pending.take_if(|_| !self.layers.is_empty()) {
            let affine = &pending.affine;
            let is_bias = affine.scale.iter().all(|s| *s == 1.0);
            match linear_end(&mut self.layers) {
                Some(dense) if is_bias || !affine.is_scaling() => dense.scale_outputs(affine),
                None if !affine.is_scaling() || pending.copies > 1 => {
                    let name = pending.name.clone();
                    self.pending = Some(pending);
                    self.identity(name, Activation::Linear)?;
                }
                _ => answers = Some(pending.affine),
            }
        }
        if self.needs_head() {
            self.identity("output", Activation::Linear)?;
        }
        ensure!(!self.layers.is_empty(), "the model has no layer with weights");
        let mut graph = Graph {
            layers: self.layers,
            encoder: self.encoder,
            output,
            answers,
            notes: self.notes,
        };
        graph.align();
        graph.settle_output();
        graph.check_encoder()?;
        Ok(graph)
    }

    /// Whether the outputs of the last layers, beside each other, cannot be the model's as they are.
    fn needs_head(&self) -> bool {
        let beside = self.layers.iter().rev().take_while(|layer| layer.beside).count();
        let mut last = self.layers.iter().rev().take(beside + 1);
        beside > 0 && last.any(|layer| layer.is_padded() || layer.has_own_scale())
    }

    /// Adds a layer that changes nothing, but for an activation and what is pending.
    fn identity(&mut self, name: impl Into<String>, activation: Activation) -> Result<()> {
        let (weights, bias) = (Matrix::diagonal(&vec![1.0; self.width]), vec![0.0; self.width]);
        self.layer(name, Op::Dense(Dense { weights, bias, activation }))
    }

    /// Folds what is pending into a linear dense layer right before it.
    fn settle(&mut self) {
        if let Some(dense) = linear_end(&mut self.layers)
            && let Some(pending) = self.pending.take()
        {
            dense.scale_outputs(&pending.affine);
        }
    }
}

/// The dense layer at the end, if it has no activation yet.
fn linear_end(layers: &mut [Layer]) -> Option<&mut Dense> {
    match layers.last_mut() {
        Some(Layer { op: Op::Dense(dense), .. }) => {
            (dense.activation == Activation::Linear).then_some(dense)
        }
        _ => None,
    }
}
