"""How a network that is still learning goes on with the text that it does not learn from."""

import torch

from rnn.generation.corpus import Corpus
from rnn.generation.network import GenerationNetwork
from rnn.generation.sampling import SamplingSettings, make_sampler
from rnn.runner import TorchRunner
from rnn.samples import ContinuedText, shortened
from rnn.tokenizers import ByteTokenizer

_PROMPT_TOKENS = 64
_NEW_TOKENS = 160
_SETTINGS = SamplingSettings(temperature=0.8, seed=1)


@torch.inference_mode()
def continued(network: GenerationNetwork, corpus: Corpus) -> ContinuedText:
    """The beginning of the validation part and what is drawn after it, always with the same random
    numbers. Ends early where the scores are no numbers."""
    network.eval()
    device = network.embedding.weight.device
    first = corpus.validation.first
    prompt = corpus.tokens[first : min(first + _PROMPT_TOKENS, corpus.validation.end)].tolist()
    prompt_t = torch.tensor(prompt, device=device)
    y_bth, state = network.outputs(prompt_t[None])
    y_bh = y_bth[:, -1]
    # The weights of the stack are copied, not those before and after it: a table may be large.
    runner = TorchRunner(network.stack, embedding_vd=None, output=None)
    sampler = make_sampler([_SETTINGS], [prompt], corpus.vocabulary_size)
    drawn: list[int] = []
    while len(drawn) < _NEW_TOKENS:
        draws = sampler.draw(network.head.scores(y_bh))
        if not draws.finite_b[0]:
            break
        drawn.append(int(draws.tokens_b[0]))
        token_b = torch.tensor(drawn[-1:], device=device)
        y_bh, state = runner.step(network.embedding(token_b), state)
    decoder = (corpus.tokenizer or ByteTokenizer()).decoder()
    prompt_text = "".join(map(decoder.push, prompt))
    text = "".join(map(decoder.push, drawn)) + decoder.finish()
    return ContinuedText(shortened(prompt_text), shortened(text))
