package PgEncrypt::SmallDisk;

=head1 NAME

PgEncrypt::SmallDisk - a disk that is soon full, for system tests

=head1 SYNOPSIS

  use PgEncrypt::SmallDisk ('64m');     # before everything that starts or makes something

  fill_disk(100_000);              # leaves that many bytes
  empty_disk();

The disk is a tmpfs that only the test and its servers see: the test is run anew in a user and mount namespace of its own, which
takes no privileges where the system lets ordinary users make them. Where it does not, the whole file is skipped.

=cut

use strict;
use warnings FATAL => 'all';

use parent 'Exporter';
use File::Path qw(make_path);

our @EXPORT = qw(small_disk fill_disk empty_disk);

# Namespaces are inherited by processes, so the test has to be in them from its beginning. As root of the first it may
# mount; servers don't run as root, so it goes on as who it was in a second one.
sub import
{
	my ($class, $size) = @_;
	if (!$ENV{PG_ENCRYPT_SMALL_DISK})
	{
		my $path = "$ENV{TESTDIR}/small_disk_$$";
		make_path($path);
		my $enter = 'mount -t tmpfs -o size=' . $size . ',mode=0700 tmpfs "$0" && user=$1 group=$2 && shift 2 &&'
		  . ' exec unshare --user --map-user="$user" --map-group="$group" -- "$@"';
		my @enter = ('unshare', '--user', '--map-root-user', '--mount', '--', 'sh', '-c', $enter, $path, $>, $) + 0);
		my $why = `@{[ join ' ', map { quotemeta } @enter ]} true 2>&1`;
		if ($? != 0)
		{
			$why =~ s/\s+/ /g;
			print "1..0 # SKIP no namespace to mount a small disk in: $why\n";
			exit 0;
		}
		local $ENV{PG_ENCRYPT_SMALL_DISK} = $path;
		exec @enter, $^X, $0, @ARGV or die "unshare: $!";
	}
	$class->export_to_level(1, $class, @EXPORT);
	return;
}

=head1 FUNCTIONS

=head2 small_disk()

The directory that it is mounted on.

=cut

sub small_disk
{
	return $ENV{PG_ENCRYPT_SMALL_DISK};
}

=head2 fill_disk([BYTES])

Takes all of it but BYTES, 0 if left out.

=cut

sub fill_disk
{
	my ($leave) = @_;
	my $filler = small_disk() . '/filler';
	open my $file, '>>', $filler or die "$filler: $!";
	my $piece = 'x' x 4096;
	1 while defined syswrite $file, $piece;
	die "$filler: $!" unless $!{ENOSPC};
	truncate $file, (-s $filler) - ($leave // 0) or die "$filler: $!" if $leave;
	close $file;
	return;
}

=head2 empty_disk()

=cut

sub empty_disk
{
	unlink small_disk() . '/filler' or die "filler: $!";
	return;
}

1;
