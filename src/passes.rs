//! Models with a layer that runs backwards: the steps of a sequence are kept, and the answer is
//! computed by passes over all of them.
//!
//! A *stage* is a layer with those beside it, the two directions of a bidirectional layer for
//! example: they take the same rows, a row a step, and their outputs side by side are the rows of
//! the next stage. Rows of one stage lie at one end of a region of memory, those of the next at
//! the other end. The first stage reads the steps as they were kept, so a sequence can go on after
//! an answer.

use crate::layers::{padded, split};
use crate::model::Model;

/// Consecutive layers that take the same input.
#[derive(Clone, Copy)]
struct Stage {
    first: usize,
    end: usize,
    /// Halfwords from one row to the next, of the input and of the output.
    stride_in: usize,
    stride_out: usize,
    /// Rows of the input: the steps of the sequence, or one.
    rows_in: usize,
    /// One row of output, after the last step.
    once: bool,
}

impl Stage {
    const fn rows_out(&self) -> usize {
        if self.once { 1 } else { self.rows_in }
    }

    /// Words of the output's rows.
    const fn words(&self) -> usize {
        (self.rows_out() * self.stride_out).div_ceil(2)
    }
}

impl Model<'_> {
    /// The stage that starts with the layer at `first` and is given `rows_in` rows of a sequence.
    const fn stage(&self, first: usize, rows_in: usize) -> Option<Stage> {
        let Some(layer) = self.layer(first) else { return None };
        let (mut end, mut outputs) = (first + 1, layer.units);
        while let Some(layer) = self.layer(end)
            && layer.beside
        {
            outputs += layer.units;
            end += 1;
        }
        Some(Stage {
            first,
            end,
            stride_in: padded(layer.width()),
            // The answers, which no layer reads, have no gaps between them.
            stride_out: if end == self.depth() { outputs } else { padded(outputs) },
            rows_in,
            // From the last recurrent layer on, one step counts.
            once: self.answers_last() && end >= self.body,
        })
    }

    /// Words of the region that the stages' rows take turns in.
    pub(crate) const fn region_words(&self) -> usize {
        let (mut most, mut before) = (0, 0);
        let (mut first, mut rows) = (0, self.steps());
        while let Some(stage) = self.stage(first, rows) {
            if most < before + stage.words() {
                most = before + stage.words();
            }
            before = stage.words();
            (first, rows) = (stage.end, stage.rows_out());
        }
        most
    }

    /// Words that hold the steps so far: their number, then their features.
    pub(crate) const fn kept_words(&self) -> usize {
        1 + self.steps() * padded(self.inputs()) / 2
    }

    /// Steps kept.
    pub(crate) fn kept(&self, memory: &[u32]) -> usize {
        let count = memory.get(self.working_words()).map_or(0, |count| *count as usize);
        count.min(self.steps())
    }

    /// Keeps `x` as the latest step; if there is no room, the first step goes.
    pub(crate) fn keep(&self, memory: &mut [u32], x: impl Iterator<Item = i16>) {
        let count = self.kept(memory);
        let (_, rest) = split(memory, self.working_words());
        let (kept, _) = split(rest, self.kept_words());
        let (number, rows) = split(kept, 1);
        let rows: &mut [i16] = bytemuck::cast_slice_mut(rows);
        let stride = padded(self.inputs());
        let mut at = count;
        if count == self.steps() {
            let cells = core::cell::Cell::from_mut(&mut *rows).as_slice_of_cells();
            for (to, from) in cells.iter().zip(cells.get(stride..).unwrap_or(&[])) {
                to.set(from.get());
            }
            at = count.saturating_sub(1);
        }
        number.fill(at as u32 + 1);
        let row = rows.get_mut(at * stride..).unwrap_or_default();
        for (row, x) in row.iter_mut().zip(x.take(self.inputs())) {
            *row = x;
        }
    }

    /// Runs all layers over the steps kept and returns the answers, `[outputs]` each: one a step, or
    /// the one after the last. `watch` sees the number of each layer, of the step, and the layer's words.
    pub(crate) fn passes<'m>(
        &self,
        memory: &'m mut [u32],
        mut watch: impl FnMut(usize, usize, &[u32]),
    ) -> &'m [i16] {
        let steps = self.kept(memory);
        let (scratch, rest) = split(memory, self.scratch_words);
        let (region, rest) = split(rest, self.working_words() - self.scratch_words);
        let (kept, mut states) = split(rest, self.kept_words());
        let kept: &[i16] = bytemuck::cast_slice(kept.get(1..).unwrap_or(&[]));

        // Where the rows of the latest stage are.
        let (mut at_end, mut words) = (false, 0);
        let (mut first, mut rows) = (0, steps);
        while let Some(stage) = self.stage(first, rows) {
            let words_in = words;
            (at_end, words) = (!at_end, stage.words());
            let middle = if at_end { region.len().saturating_sub(words) } else { words };
            let (start, end) = split(region, middle);
            let (input, output) = if at_end {
                (start, end)
            } else {
                let input = end.len().saturating_sub(words_in);
                (split(end, input).1, start)
            };
            let input = if first == 0 { kept } else { bytemuck::cast_slice(input) };
            let mut output: &mut [i16] = bytemuck::cast_slice_mut(output);

            for index in stage.first..stage.end {
                let Some(layer) = &self.layer(index) else { break };
                let (state, behind) = split(states, layer.state_words());
                states = behind;
                state.fill(0);
                let (scratch, _) = split(scratch, layer.scratch_words());
                // Backwards, the output at the last step comes first, and others need not.
                let takes_one = stage.once && layer.reverse && self.answers_at_last();
                for n in 0..if takes_one { rows.min(1) } else { rows } {
                    let row = if layer.reverse { rows - 1 - n } else { n };
                    let x = input.get(row * stage.stride_in..).unwrap_or(&[]);
                    layer.step(x.get(..stage.stride_in).unwrap_or(&[]), state, scratch);
                    watch(index, (steps + row).saturating_sub(rows), state);
                    if !stage.once {
                        store(layer.output(state), output, row * stage.stride_out, &stage);
                    }
                }
                if stage.once {
                    store(layer.output(state), output, 0, &stage);
                }
                output = output.get_mut(layer.units..).unwrap_or_default();
            }
            (first, rows) = (stage.end, stage.rows_out());
        }
        let at = if at_end { region.len().saturating_sub(words) } else { 0 };
        let answers: &[i16] = bytemuck::cast_slice(split(region, at).1);
        answers.get(..rows * self.outputs()).unwrap_or(&[])
    }
}

/// Copies a layer's output into the row at `at`, which starts at the layer's column.
fn store(y: &[i16], rows: &mut [i16], at: usize, stage: &Stage) {
    let row = rows.get_mut(at..).unwrap_or_default();
    for (to, y) in row.iter_mut().zip(y.iter().take(stage.stride_out)) {
        *to = *y;
    }
}
