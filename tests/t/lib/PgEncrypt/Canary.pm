package PgEncrypt::Canary;

=head1 NAME

PgEncrypt::Canary - looks for secrets where they must not be

=head1 SYNOPSIS

  use PgEncrypt::Canary;

  my $canary = canary('email');
  lacks_canaries($dump, { email => $canary, 'root key' => pack('H*', $root) }, 'the dump');

A secret is looked for as it is and as hexadecimal digits of either case, which is how bytea, logs and pg_waldump show it.

=cut

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Find;
use PgEncrypt::Test;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(canary forms_of found_in files_below lacks_canaries);

=head1 FUNCTIONS

=head2 canary(LABEL)

A text that occurs nowhere else: 32 random letters after the label. Letters only, and none that hexadecimal digits
have, so that no part of it appears by chance.

=cut

sub canary
{
	my ($label) = @_;
	return "$label-" . (random_hex(16) =~ tr/0-9a-f/ghijklmnopqrstuv/r);
}

=head2 forms_of(BYTES)

The forms in which a secret is looked for.

=cut

sub forms_of
{
	my ($secret) = @_;
	my $hex = unpack 'H*', $secret;
	return ($secret, $hex, uc $hex);
}

=head2 found_in(TEXT, SECRETS)

Names of the secrets (a reference to a hash of name and bytes) that occur in TEXT or in the text it refers to.

=cut

sub found_in
{
	my ($text, $secrets) = @_;
	my $where = ref $text ? $text : \$text;
	return grep {
		my $name = $_;
		grep { index($$where, $_) >= 0 } forms_of($secrets->{$name})
	} sort keys %$secrets;
}

=head2 files_below(DIRECTORY, [PATTERN])

All regular files there and deeper, whose path matches PATTERN.

=cut

sub files_below
{
	my ($directory, $pattern) = @_;
	my @files;
	find({ no_chdir => 1, wanted => sub { push @files, $_ if -f && (!defined $pattern || /$pattern/) } }, $directory);
	return sort @files;
}

=head2 lacks_canaries(PATH, SECRETS, TEST NAME)

Passes if the file, or every file below the directory, is free of the secrets, and there is something to look at.

=cut

sub lacks_canaries
{
	my ($path, $secrets, $test_name) = @_;
	my @files = -d $path ? files_below($path) : ($path);
	my (@found, $size);

	for my $file (@files)
	{
		# Files of a running server come and go.
		my $content = eval { slurp_file($file) };
		next unless defined $content;
		$size += length $content;
		push @found, map { "$_ in $file" } found_in(\$content, $secrets);
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return fail("$test_name: nothing to look at in $path") unless $size;
	is_deeply(\@found, [], $test_name);
	return;
}

1;
