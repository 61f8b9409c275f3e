import torch

from eps.nn.tag_head import FRESH_BIAS, TagHead


def test_a_fresh_head_takes_every_class_for_rare() -> None:
    assert TagHead(channels=5, classes=3)(torch.rand(2, 5, 4, 6)).flatten().tolist() == [FRESH_BIAS] * 6


def test_is_linear_in_standardised_means_and_maxima() -> None:
    torch.manual_seed(0)
    head, features = TagHead(channels=5, classes=3), torch.randn(2, 5, 4, 6)
    with torch.no_grad():
        head.linear.weight.normal_()
    for i in range(2):
        parts = []
        for part in (features[i].mean(dim=(1, 2)), features[i].amax(dim=(1, 2))):
            parts.append((part - part.mean()) / (part.var(unbiased=False) + 1e-5).sqrt())
        expected = head.linear.weight @ torch.cat(parts) + head.linear.bias
        torch.testing.assert_close(head(features)[i], expected)


def test_goes_by_what_a_photo_shows_not_by_where() -> None:
    torch.manual_seed(0)
    head, features = TagHead(channels=5, classes=3), torch.randn(2, 5, 4, 6)
    with torch.no_grad():
        head.linear.weight.normal_()
    torch.testing.assert_close(head(features.flip(-1)), head(features))
    torch.testing.assert_close(head(features[:, :, [2, 0, 3, 1]]), head(features))
