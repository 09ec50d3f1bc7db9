//! Chooses what happens next in a long history: everything may happen at any time, but what ends
//! the interesting part of it is rare.

use stateright::Chooser;

use super::system::{Action, System, World};

/// Weighs the choices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate;

/// Xorshift: the same seed gives the same history in every release.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

fn weight(action: &Action) -> u64 {
    match action {
        Action::StepIsDone(_) => 40,
        Action::WriteBegins(_) | Action::WriteCommits(..) => 10,
        Action::RouterCatchesUp(_) | Action::StreamApplies => 20,
        Action::StepFails(_) => 3,
        Action::SecondManagerIsElected | Action::OperatorAsks(_) => 1,
    }
}

impl Chooser<World> for Fate {
    type State = Dice;

    fn new_state(&self, seed: u64) -> Dice {
        Dice((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn choose_initial_state(&self, dice: &mut Dice, states: &[System]) -> usize {
        usize::try_from(dice.below(states.len() as u64)).unwrap_or(0)
    }

    fn choose_action(&self, dice: &mut Dice, _: &System, actions: &[Action]) -> usize {
        let mut left = dice.below(actions.iter().map(weight).sum());
        for (at, action) in actions.iter().enumerate() {
            match left.checked_sub(weight(action)) {
                Some(rest) => left = rest,
                None => return at,
            }
        }
        0
    }
}
