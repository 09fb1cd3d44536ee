//! Where a picture comes to lie in another of another size.
//!
//! Main types: [`Fit`] and [`Placement`]. Pixels are taken to be square. It does not touch pixels.

use serde::{Deserialize, Serialize};

use super::frames::MAX_SIDE;

/// What happens where the aspect ratios differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fit {
    /// The picture is distorted.
    Stretch,
    /// The whole picture is shown, with bars beside it.
    Contain,
    /// The target is filled, and what is beyond it of the picture is cut off.
    Cover,
}

/// Which part of a source fills which part of a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Placement {
    /// Width and height of the target.
    pub(crate) size: [u32; 2],
    /// Corner of the part of the target that is filled.
    pub(crate) corner: [u32; 2],
    /// Its width and height.
    pub(crate) inner: [u32; 2],
    /// Corner of the part of the source that fills it.
    pub(crate) from: [u32; 2],
    /// Its width and height.
    pub(crate) span: [u32; 2],
}

/// `value * numerator / denominator`, rounded, and at least 1.
fn scaled(value: u32, numerator: u32, denominator: u32) -> u32 {
    let (value, denominator) = (u64::from(value), u64::from(denominator.max(1)));
    let product = value * u64::from(numerator) + denominator / 2;
    u32::try_from((product / denominator).max(1)).unwrap_or(u32::MAX)
}

/// The nearest multiple of `step` to `value` that is above 0.
fn aligned(value: u32, step: u32) -> u32 {
    (value.saturating_add(step / 2) / step * step).max(step)
}

/// The size of a target of which a side may be 0, to be found from the source's aspect ratio. `block` is
/// how many pixels share chroma; sides that are found are multiples of it.
pub(crate) fn target_size(size: [u32; 2], source: [u32; 2], block: [u32; 2]) -> [u32; 2] {
    let limit = |side: u32| side.min(MAX_SIDE);
    match size {
        [0, 0] => source,
        [width, 0] => [width, limit(aligned(scaled(width, source[1], source[0]), block[1]))],
        [0, height] => [limit(aligned(scaled(height, source[0], source[1]), block[0])), height],
        both => both,
    }
}

/// The largest size of the source's aspect ratio within `limit`, not above the source's own.
pub(crate) fn size_within(limit: [u32; 2], source: [u32; 2]) -> [u32; 2] {
    let fits = source[0] <= limit[0] && source[1] <= limit[1];
    if fits { source } else { contained(limit, source) }
}

/// The largest size of the source's aspect ratio within `limit`.
fn contained(limit: [u32; 2], source: [u32; 2]) -> [u32; 2] {
    let by_width = u64::from(limit[0]) * u64::from(source[1]);
    let by_height = u64::from(limit[1]) * u64::from(source[0]);
    if by_width <= by_height {
        [limit[0], scaled(limit[0], source[1], source[0]).min(limit[1])]
    } else {
        [scaled(limit[1], source[0], source[1]).min(limit[0]), limit[1]]
    }
}

impl Placement {
    /// Parts begin where pixels share chroma, of which there are `block` across and down.
    pub(crate) fn new(fit: Fit, source: [u32; 2], size: [u32; 2], block: [u32; 2]) -> Self {
        let whole = Self { size, corner: [0; 2], inner: size, from: [0; 2], span: source };
        // The part of `outer` that has the aspect ratio of `shape`, and its corner.
        let part = |outer: [u32; 2], shape: [u32; 2]| {
            let fitting = contained(outer, shape);
            let inner = [0, 1].map(|axis| match fitting[axis] {
                side if side == outer[axis] => side,
                side => aligned(side, block[axis]).min(outer[axis]),
            });
            let middle = |axis: usize| (outer[axis] - inner[axis]) / 2 / block[axis] * block[axis];
            ([middle(0), middle(1)], inner)
        };
        match fit {
            Fit::Stretch => whole,
            Fit::Contain => {
                let (corner, inner) = part(size, source);
                Self { corner, inner, ..whole }
            }
            Fit::Cover => {
                let (from, span) = part(source, size);
                Self { from, span, ..whole }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_side_that_is_not_given_follows_from_the_aspect_ratio() {
        assert_eq!(target_size([640, 0], [1920, 1080], [2, 2]), [640, 360]);
        assert_eq!(target_size([0, 480], [720, 576], [1, 1]), [600, 480]);
        assert_eq!(target_size([0, 333], [1920, 1080], [2, 2]), [592, 333]);
        assert_eq!(target_size([0, 333], [1920, 1080], [1, 1]), [592, 333]);
        assert_eq!(target_size([1, 0], [1920, 1], [2, 2]), [1, 2]);
        assert_eq!(target_size([16_384, 0], [1, 4_000], [1, 1]), [16_384, MAX_SIDE]);
    }

    #[test]
    fn a_contained_picture_lies_in_the_middle_and_a_covering_one_is_cut_on_both_sides() {
        let wide = Placement::new(Fit::Contain, [1920, 1080], [640, 480], [2, 2]);
        assert_eq!((wide.corner, wide.inner), ([0, 60], [640, 360]));
        let high = Placement::new(Fit::Contain, [1080, 1920], [640, 480], [2, 2]);
        assert_eq!((high.corner, high.inner), ([184, 0], [270, 480]));
        let cut = Placement::new(Fit::Cover, [1920, 1080], [480, 480], [2, 2]);
        assert_eq!((cut.from, cut.span), ([420, 0], [1080, 1080]));
    }

    #[test]
    fn thumbnails_are_not_larger_than_their_source() {
        assert_eq!(size_within([320, 320], [1920, 1080]), [320, 180]);
        assert_eq!(size_within([320, 320], [99, 77]), [99, 77]);
        assert_eq!(size_within([1, 1], [99, 77]), [1, 1]);
    }

    proptest! {
        #[test]
        fn what_is_placed_lies_within_both_pictures(
            source in [1_u32..5_000, 1_u32..5_000],
            size in [1_u32..5_000, 1_u32..5_000],
            step in 1_u32..3,
            fit in prop::sample::select(&[Fit::Stretch, Fit::Contain, Fit::Cover][..]),
        ) {
            let place = Placement::new(fit, source, size, [step; 2]);
            let within = size_within(size, source);
            for axis in 0..2 {
                prop_assert!(place.inner[axis] > 0);
                prop_assert!(place.corner[axis] + place.inner[axis] <= size[axis]);
                prop_assert_eq!(place.corner[axis] % step, 0);
                prop_assert!(place.span[axis] > 0 && place.from[axis].is_multiple_of(step));
                prop_assert!(place.from[axis] + place.span[axis] <= source[axis]);
                prop_assert!(within[axis] > 0 && within[axis] <= size[axis].max(1));
                prop_assert!(within[axis] <= source[axis]);
            }
        }
    }
}
